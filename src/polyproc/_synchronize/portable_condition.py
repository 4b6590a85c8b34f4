"""Condition, made of a lock and three semaphores.

A waiter counts itself in `_sleeping_count` and sleeps on `_wait_semaphore`. A notifier wakes sleepers by raising it,
and waits for each to count itself in `_woken_count`, so that a wake-up cannot be taken by somebody who comes later. A
waiter that timed out leaves both counts raised by one; the next notifier takes such pairs out first.
"""

from __future__ import annotations

from types import TracebackType

from polyproc._public import Remade, public
from polyproc._synchronize.portable_locks import Lock, RLock, Semaphore
from polyproc._synchronize.predicate import WaitsForPredicate
from polyproc._typing import Any

_WOKEN_LIMIT = 5.0  # how long a notifier waits for one woken sleeper: it may have been killed


_NOT_HELD = "must acquire() condition before using wait(): write `with condition: condition.wait()`"


@public("synchronize")
class Condition(Remade, WaitsForPredicate):
    """As in the standard library: wait for something that another process notifies of."""

    def __init__(self, lock: Lock | RLock | None = None, *, ctx: Any = None) -> None:
        self._lock = lock if lock is not None else RLock(ctx=ctx)
        if not hasattr(self._lock, "_is_mine"):
            raise TypeError(f"a condition needs a Lock or an RLock of polyproc, and not {lock!r}")
        self._sleeping_count = Semaphore(0, ctx=ctx)
        self._woken_count = Semaphore(0, ctx=ctx)
        self._wait_semaphore = Semaphore(0, ctx=ctx)
        self._take_methods()

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
