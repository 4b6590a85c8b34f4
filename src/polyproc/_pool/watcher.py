"""Watches for the end of a pool's workers: a thread that waits for their sentinels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from polyproc._connection.wait import wait
from polyproc._platform.handles import WakePipe


class Member:
    """A worker, as its pool sees it."""

    def __init__(self, number: int, process: Any, line: Any) -> None:
        self.number = number
        self.process = process
        self.line = line
        self.noted = False  # the watcher has said that it has ended
        self.ready = False
        self.leaving = False
        self.error: Any = None  # why it could not start


class Watcher:
    """Calls `note` with the number of each member that has ended, once.

    Args:
        members: those to watch, by number; a new one is seen after `wake`.
        note: what to call, from the watcher's thread.
    """

    def __init__(self, members: Mapping[int, Member], note: Callable[[int], object]) -> None:
        self._members = members
        self._note = note
        self._pipe = WakePipe()
        self._thread = threading.Thread(target=self._watch, name="polyproc-pool-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it watches no more."""
        return self._pipe.ended

    def wake(self) -> None:
        """Look at the members again."""
        self._pipe.wake()

    def close(self) -> None:
        """End the thread."""
        if self.closed:
            return
        self._pipe.end()
        if self._thread.is_alive():
            self._thread.join()
        self._pipe.close()

    def _watch(self) -> None:
        while True:
            watched = {member.process.sentinel: member for member in list(self._members.values()) if not member.noted}
            for found in wait([self._pipe.fd, *watched]):
                if found != self._pipe.fd:
                    watched[found].noted = True
                    self._note(watched[found].number)
                elif not self._pipe.drain():
                    return
