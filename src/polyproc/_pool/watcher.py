"""Watches for the end of a pool's workers, and the clock: a thread that waits for their sentinels."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from polyproc._connection.wait import wait
from polyproc._platform.handles import WakePipe

_NEVER = float("inf")


class Watched(Protocol):
    """A worker."""

    number: int
    process: Any
    noted: bool


class Alarm(Protocol):
    """What has to be done at a certain time."""

    def next_at(self) -> float:
        """Return when, on the monotonic clock; infinity for never."""
        ...

    def ring(self, now: float) -> None:
        """Do what is due."""
        ...


class Watcher:
    """Calls `note` with the number of each member that has ended, once, and `alarm.ring` when it is time.

    Args:
        members: those to watch, by number; a new one is seen after `wake`.
        note: what to call, from the watcher's thread.
        alarm: asked after each wake-up.
    """

    def __init__(self, members: Mapping[int, Watched], note: Callable[[int], object], alarm: Alarm) -> None:
        self._members = members
        self._note = note
        self._alarm = alarm
        self._pipe = WakePipe()
        self._until = _NEVER
        self._thread = threading.Thread(target=self._watch, name="polyproc-pool-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch, unless that was done."""
        if not self._thread.is_alive():
            self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it watches no more."""
        return self._pipe.ended

    def wake(self) -> None:
        """Look at the members again."""
        self._pipe.wake()

    def be_up_at(self, moment: float) -> None:
        """Look at the alarm at a moment, if that is earlier than it would."""
        if moment < self._until:
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
            until = self._alarm.next_at()
            self._until = until  # who has set an earlier moment since then has seen infinity, and woken us
            left = None if until == _NEVER else max(until - time.monotonic(), 0.0)
            for found in wait([self._pipe.fd, *watched], left):
                if found != self._pipe.fd:
                    watched[found].noted = True
                    self._note(watched[found].number)
                elif not self._pipe.drain():
                    return
            self._until = _NEVER
            self._alarm.ring(time.monotonic())
