"""Watches for the end of a pool's workers: a thread that waits for their sentinels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from polyproc._connection.wait import wait
from polyproc._platform.handles import WakePipe

if TYPE_CHECKING:
    from polyproc._workers.worker_set import WorkerHandle

_MAX_WAIT = 10.0  # seconds


class Monitor:
    """Calls `note` with the id of each worker that has ended, once.

    Args:
        handles: the workers, by id; a new one is seen after `wake`.
        note: called from the monitor's thread.
        failed: called with the error if the thread cannot go on.
    """

    def __init__(
        self,
        handles: Mapping[int, WorkerHandle],
        note: Callable[[int], object],
        failed: Callable[[BaseException], object],
    ) -> None:
        self._handles = handles
        self._note = note
        self._failed = failed
        self._pipe = WakePipe()
        self._thread = threading.Thread(target=self._run, name="polyproc-pool-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the workers again."""
        self._pipe.wake()

    def close(self) -> None:
        """End the thread."""
        self._pipe.end()
        if self._thread.is_alive():
            self._thread.join()
        self._pipe.close()

    def _run(self) -> None:
        try:
            while self._watch():
                pass
        except BaseException as error:  # noqa: BLE001  (no descriptor or memory left: the engine has to know)
            self._failed(error)

    def _watch(self) -> bool:
        watched = {
            handle.process.sentinel: handle
            for handle in list(self._handles.values())
            if handle.is_started and not handle.is_noted
        }
        for found in wait([self._pipe.fd, *watched], _MAX_WAIT):
            if found != self._pipe.fd:
                watched[found].is_noted = True
                self._note(watched[found].id)
            elif not self._pipe.drain():
                return False
        return True
