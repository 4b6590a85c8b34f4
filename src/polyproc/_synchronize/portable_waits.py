"""Condition, Event and Barrier, made of locks and semaphores.

A waiter for a Condition counts itself in `_sleeping_count` and sleeps on `_wait_semaphore`. A notifier wakes sleepers
by raising that one, and waits for each to count itself in `_woken_count`, so that no later waiter can take the wake-up.
A waiter that timed out leaves both counts raised by one; the next notifier takes such pairs out first.
"""

from __future__ import annotations

import threading
from types import TracebackType

from polyproc._base.modules import Remade, public
from polyproc._base.typing import TYPE_CHECKING, Any, Callable
from polyproc._pickling.sending import live_fd
from polyproc._platform.handles import HeldBack
from polyproc._platform.posix import anonymous_memory, close_quietly, mapped
from polyproc._synchronize.portable_locks import InnerLock, InnerSemaphore, Lock, RLock
from polyproc._synchronize.predicate import WaitsForPredicate, checked_parties

if TYPE_CHECKING:
    from polyproc._synchronize.async_locks import AsyncBarrier, AsyncCondition, AsyncEvent

_WOKEN_LIMIT = 5.0  # how long a notifier waits for one woken sleeper: it may have been killed
_NOT_HELD = "must acquire() condition before using wait(): write `with condition: condition.wait()`"


@public("synchronize")
class Condition(Remade, WaitsForPredicate):
    """A condition to wait for, of which another process notifies, as in the standard library."""

    def __init__(self, lock: Lock | RLock | None = None, *, ctx: Any = None) -> None:
        self._lock = lock if lock is not None else RLock(ctx=ctx)
        if not hasattr(self._lock, "_is_mine"):
            raise TypeError(f"a condition needs a Lock or an RLock of polyproc, and not {lock!r}")
        self._sleeping_count = InnerSemaphore(0, ctx=ctx)
        self._woken_count = InnerSemaphore(0, ctx=ctx)
        self._wait_semaphore = InnerSemaphore(0, ctx=ctx)
        self._take_methods()

    @property
    def aio(self) -> AsyncCondition:
        """The methods as coroutines, for asyncio and trio: `await condition.aio.wait()`."""
        from polyproc._synchronize.async_locks import AsyncCondition

        return AsyncCondition(self)

    def _take_methods(self) -> None:
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __getstate__(self) -> tuple[Any, ...]:
        return (self._lock, self._sleeping_count, self._woken_count, self._wait_semaphore)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._lock, self._sleeping_count, self._woken_count, self._wait_semaphore = state
        self._take_methods()

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._lock.__exit__(kind, error, tb)

    def __repr__(self) -> str:
        try:
            waiters = self._sleeping_count.get_value() - self._woken_count.get_value()
        except NotImplementedError:
            return f"<{type(self).__name__}({self._lock}, unknown)>"
        return f"<{type(self).__name__}({self._lock}, {waiters})>"

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, up to `timeout` seconds, and take the lock again.

        Returns:
            False if the time ran out first.
        """
        assert self._lock._is_mine(), _NOT_HELD
        self._sleeping_count.release()
        count = self._lock._count
        for _ in range(count):
            self._lock.release()
        try:
            return self._wait_semaphore.acquire(True, timeout)
        finally:
            self._woken_count.release()
            for _ in range(count):
                self._lock.acquire()

    def notify(self, n: int = 1) -> None:
        """Wake up to `n` waiters. The caller holds the lock."""
        assert self._lock._is_mine(), "lock is not owned: write `with condition: condition.notify()`"
        while self._wait_semaphore.acquire(False):
            pass  # wake-ups of notifiers that were killed, or for waiters that were
        while self._woken_count.acquire(False):
            self._sleeping_count.acquire(False)  # waiters that timed out
        woken = 0
        while woken < n and self._sleeping_count.acquire(False):
            self._wait_semaphore.release()
            woken += 1
        for _ in range(woken):
            if not self._woken_count.acquire(True, _WOKEN_LIMIT):
                break  # a waiter was killed: its wake-up is taken back below
        while self._wait_semaphore.acquire(False):
            pass

    def notify_all(self) -> None:
        """Wake all waiters. The caller holds the lock."""
        self.notify(n=2**31)


# Event: a flag that processes wait for.


@public("synchronize")
class Event(Remade):
    """A flag that processes wait for."""

    @property
    def aio(self) -> AsyncEvent:
        """The methods as coroutines, for asyncio and trio: `await event.aio.wait()`."""
        from polyproc._synchronize.async_locks import AsyncEvent

        return AsyncEvent(self)

    def __init__(self, *, ctx: Any = None) -> None:
        self._cond = Condition(InnerLock(ctx=ctx), ctx=ctx)
        self._flag = InnerSemaphore(0, ctx=ctx)

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        with self._cond:
            return self._look()

    def _look(self) -> bool:
        if self._flag.acquire(False):
            self._flag.release()
            return True
        return False

    def set(self) -> None:
        """Set the flag; wake all waiters."""
        with self._cond:
            self._flag.acquire(False)
            self._flag.release()
            self._cond.notify_all()

    def clear(self) -> None:
        """Clear the flag."""
        with self._cond:
            self._flag.acquire(False)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, up to `timeout` seconds; return whether it is."""
        with self._cond:
            if not self._look():
                self._cond.wait(timeout)
            return self._look()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {'set' if self.is_set() else 'unset'}>"


# Barrier: a place where a number of processes wait for each other.


class _SharedCounts:
    """Two small numbers that processes share, in memory: one is looked at while others change it."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = -1 if fd is None else fd
        if fd is None:
            with HeldBack():
                self._fd = anonymous_memory("polyproc-barrier", 16)
        self._map = mapped(self._fd, 16)
        self._numbers = memoryview(self._map).cast("q")

    def get(self, index: int) -> int:
        """Return a number."""
        return int(self._numbers[index])

    def set(self, index: int, value: int) -> None:
        """Store a number."""
        self._numbers[index] = value

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_counts, (live_fd(self._fd, owner=self),)

    def __del__(self) -> None:
        close_quietly(self._fd)


def _rebuild_counts(fd: Any) -> _SharedCounts:
    return _SharedCounts(fd.detach())


@public("synchronize")
class Barrier(Remade, threading.Barrier):
    """A place where a number of processes wait for each other."""

    @property
    def aio(self) -> AsyncBarrier:
        """The methods as coroutines, for asyncio and trio: `await barrier.aio.wait()`."""
        from polyproc._synchronize.async_locks import AsyncBarrier

        return AsyncBarrier(self)

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
