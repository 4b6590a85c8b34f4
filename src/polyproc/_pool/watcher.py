"""Watches for the end of a pool's workers: a thread that waits for their sentinels."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from polyproc._connection.wait import wait


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
        self._lock = threading.Lock()  # of the descriptors
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._thread = threading.Thread(target=self._watch, name="polyproc-pool-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it watches no more."""
        return self._write < 0

    def wake(self) -> None:
        """Look at the members again."""
        with self._lock:
            if self._write >= 0:
                try:
                    os.write(self._write, b".")
                except BlockingIOError:  # it will wake anyhow
                    pass

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            write, self._write = self._write, -1
        if write < 0:
            return
        os.close(write)  # the thread sees the end
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._read)

    def _watch(self) -> None:
        while True:
            watched = {member.process.sentinel: member for member in list(self._members.values()) if not member.noted}
            for found in wait([self._read, *watched]):
                if found != self._read:
                    watched[found].noted = True
                    self._note(watched[found].number)
                elif not os.read(self._read, 65536):
                    return
