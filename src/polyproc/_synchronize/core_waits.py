"""Condition, Event and Barrier on the C core: a killed waiter neither hangs who wakes it nor takes another's wake-up.

The algorithms, and what happens at each step, stand in csrc/core/pp_condition.h, pp_event.h and pp_barrier.h.
"""

from __future__ import annotations

import threading

import polyproc._core as core
from polyproc._aio_attribute import HasAio
from polyproc._memory.chunk import Chunk, where
from polyproc._public import kind_of, of_kind, public
from polyproc._synchronize.core_locks import Lock, RLock, adopt
from polyproc._synchronize.predicate import WaitsForPredicate
from polyproc._synchronize.semaphore_value import checked_parties
from polyproc._typing import Any, Callable


class _Count:
    """Stands for one of the semaphores of which the standard library makes a condition: its value, to look at."""

    def __init__(self, value: int) -> None:
        self._value = value

    def get_value(self) -> int:
        """Return the value."""
        return self._value


@public("synchronize")
@core.direct
class Condition(core.Condition, WaitsForPredicate):
    """Wait for something that another process notifies of. As in the standard library."""

    def __new__(cls, lock: Lock | RLock | None = None, *, ctx: object = None) -> Condition:
        return super().__new__(cls, RLock() if lock is None else lock)

    def __init__(self, lock: Lock | RLock | None = None, *, ctx: object = None) -> None:
        self._take_methods()

    def _take_methods(self) -> None:
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    _sleeping_count = property(lambda self: _Count(self._waiting()))
    _woken_count = _wait_semaphore = property(lambda self: _Count(0))

    def __reduce__(self) -> tuple[Any, ...]:
        return _adopt_condition, (kind_of(self), *where(self), self._lock)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {self._waiting()})>"


def _adopt_condition(kind: type | str, chunk: Chunk, offset: int, lock: Lock | RLock) -> Condition:
    made: Condition = of_kind(kind)._adopt(chunk.id, offset, lock)
    made._take_methods()
    return made


@public("synchronize")
@core.direct
class Event(core.Event, HasAio):
    """A flag that processes wait for."""

    _aio_class = ("polyproc._synchronize.async_locks", "AsyncEvent")

    def __init__(self, *, ctx: object = None) -> None:
        pass

    def __reduce__(self) -> tuple[Any, ...]:
        return adopt, (kind_of(self), *where(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {'set' if self.is_set() else 'unset'}>"


@public("synchronize")
@core.direct
class Barrier(core.Barrier, HasAio, threading.Barrier):
    """A place where a number of processes wait for each other.

    A process that is killed while it waits has arrived all the same; one that is killed in the action breaks it.
    """

    _aio_class = ("polyproc._synchronize.async_locks", "AsyncBarrier")
    _action: Callable[[], object] | None
    _timeout: float | None

    def __new__(
        cls,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: object = None,
    ) -> Barrier:
        made = super().__new__(cls, checked_parties(parties))
        made._action = action
        made._timeout = timeout
        return made

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: object = None,
    ) -> None:
        pass

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all have come, up to `timeout` seconds; one of them runs the action, if there is one.

        Returns:
            A number from 0 to parties - 1, another for each.

        Raises:
            BrokenBarrierError: somebody waited too long, aborted or reset it, died in the action, or the action failed.
        """
        return self._visit(timeout, None)

    def _visit(self, timeout: float | None, called_off: bytearray | None) -> int:
        index = self._come(self._timeout if timeout is None else timeout, self._action, called_off)
        if index is None:
            raise threading.BrokenBarrierError
        return index

    def _visit_or_not(self, timeout: float | None) -> tuple[Callable[[], int], Callable[[], object]]:
        """Return a wait, and what calls it off: it breaks the barrier, if all have not come meanwhile."""
        called_off = bytearray(1)
        return lambda: self._visit(timeout, called_off), lambda: self._call_off(called_off)

    def __reduce__(self) -> tuple[Any, ...]:
        return _adopt_barrier, (kind_of(self), *where(self), self._action, self._timeout)

    def __repr__(self) -> str:
        status = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        return f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: {status}>"


def _adopt_barrier(kind: type | str, chunk: Chunk, offset: int, action: Any, timeout: float | None) -> Barrier:
    made: Barrier = adopt(kind, chunk, offset)
    made._action = action
    made._timeout = timeout
    return made
