"""Barrier: a place where a number of processes wait for each other."""

from __future__ import annotations

import threading

from polyproc._aio_attribute import HasAio
from polyproc._kernel import os
from polyproc._pickling.live_fd import live_fd
from polyproc._platform.posix import anonymous_file, close_quietly
from polyproc._public import Remade, public
from polyproc._synchronize.portable_condition import Condition
from polyproc._synchronize.semaphore_value import checked_parties
from polyproc._typing import Any, Callable


class _SharedCounts:
    """Two small numbers that processes share: an anonymous page, reached by a descriptor."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = anonymous_file("polyproc-barrier") if fd is None else fd
        if fd is None:
            os.pwrite(self._fd, bytes(16), 0)

    def get(self, index: int) -> int:
        """Return a number."""
        return int.from_bytes(os.pread(self._fd, 8, 8 * index), "little", signed=True)

    def set(self, index: int, value: int) -> None:
        """Store a number."""
        os.pwrite(self._fd, value.to_bytes(8, "little", signed=True), 8 * index)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_counts, (live_fd(self._fd, owner=self),)

    def __del__(self) -> None:
        close_quietly(self._fd)


def _rebuild_counts(fd: Any) -> _SharedCounts:
    return _SharedCounts(fd.detach())


@public("synchronize")
class Barrier(Remade, threading.Barrier, HasAio):
    """A place where a number of processes wait for each other."""

    _aio_class = ("polyproc._synchronize.async_locks", "AsyncBarrier")

    def __init__(
        self, parties: int, action: Callable[[], None] | None = None, timeout: float | None = None, *, ctx: Any = None
    ) -> None:
        parties = checked_parties(parties)
        self.__setstate__((parties, action, timeout, Condition(ctx=ctx), _SharedCounts()))
        self._state = 0
        self._count = 0

    def __getstate__(self) -> tuple[Any, ...]:
        return (self._parties, self._action, self._timeout, self._cond, self._counts)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._parties, self._action, self._timeout, self._cond, counts = state
        self._counts: _SharedCounts = counts

    def _visit_or_not(self, timeout: float | None) -> tuple[Callable[[], int], Callable[[], object]]:
        """Return a wait, and what calls it off. One that is called off as all leave breaks the barrier, too."""
        done = threading.Event()

        def wait() -> int:
            try:
                return self.wait(timeout)
            finally:
                done.set()

        def call_off() -> None:
            if not done.is_set():
                self.abort()

        return wait, call_off

    @property
    def _state(self) -> int:
        return self._counts.get(0)

    @_state.setter
    def _state(self, value: int) -> None:
        self._counts.set(0, value)

    @property
    def _count(self) -> int:
        return self._counts.get(1)

    @_count.setter
    def _count(self, value: int) -> None:
        self._counts.set(1, value)
