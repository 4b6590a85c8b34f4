"""Lock, RLock, Semaphore and BoundedSemaphore on the C core: they outlive their owners.

When a process dies that holds one, the next `acquire` simply succeeds: `recovered` is then true for that hold, and an
OwnerDiedWarning is given once. The algorithms, and what happens at each step, stand in csrc/core/pp_lock.h and
pp_semaphore.h.
"""

from __future__ import annotations

import atexit
import threading

import polyproc._core as core
from polyproc._base.modules import kind_of, of_kind, public
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, TypeVar
from polyproc._pickling.chunk import Chunk, where
from polyproc._process.process import current_process
from polyproc._synchronize.predicate import HeldByAio, WaitsForPredicate, checked_parties, checked_value

if TYPE_CHECKING:
    from polyproc._synchronize.async_locks import (
        AsyncBarrier,
        AsyncCondition,
        AsyncEvent,
        AsyncLock,
        AsyncRLock,
        AsyncSemaphore,
    )

T = TypeVar("T")

# A process that ends in good order may mean the lock that it holds: somebody else releases it.
atexit.register(core.leave)


def adopt(kind: type[T] | str, chunk: Chunk, offset: int) -> T:
    """Make, in the process that received it, a handle of a class from its place."""
    return of_kind(kind)._adopt(chunk.id, offset)  # type: ignore[no-any-return]


def _holder(lock: Any) -> str:
    """Return the holder of a lock, as repr shows it."""
    if lock._is_mine():
        name = current_process().name
        thread = threading.current_thread().name
        return name if thread == "MainThread" else f"{name}|{thread}"
    if not lock.locked():
        return "None"
    return "SomeOtherThread" if lock._count() > 0 else "SomeOtherProcess"


class _Travels(HeldByAio):
    """The base of Lock, RLock and Semaphore: how they are pickled, and the old names of their state."""

    if TYPE_CHECKING:
        locked: Callable[[], bool]

    def __init__(self, *, ctx: object = None) -> None:
        pass

    @property
    def _semlock(self) -> Any:
        return self

    def _get_value(self) -> int:
        return int(not self.locked())

    def _is_zero(self) -> bool:
        return self.locked()

    def __reduce__(self) -> tuple[Any, ...]:
        return adopt, (kind_of(self), *where(self))


@public("synchronize")
@core.direct
class Lock(core.Lock, _Travels):
    """A lock. Any process or thread may release it.

    Attributes:
        recovered: whether the current hold came from an owner that died: what the lock guards may be half done.
        owner: the pid of the process that holds it, or None.
    """

    @property
    def aio(self) -> AsyncLock:
        """The methods as coroutines, for asyncio and trio: `await lock.aio.acquire(timeout=1)`."""
        from polyproc._synchronize.async_locks import AsyncLock

        return AsyncLock(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={_holder(self)})>"


@public("synchronize")
@core.direct
class RLock(core.RLock, _Travels):
    """A lock that its holder may take again; it must release it as often, and nobody else may.

    Attributes:
        recovered: whether the current hold came from an owner that died: what the lock guards may be half done.
        owner: the pid of the process that holds it, or None.
    """

    @property
    def aio(self) -> AsyncRLock:
        """The methods as coroutines, for asyncio and trio: `await lock.aio.acquire(timeout=1)`."""
        from polyproc._synchronize.async_locks import AsyncRLock

        return AsyncRLock(self)

    def __repr__(self) -> str:
        holder = _holder(self)
        depth: int | str = "nonzero" if holder.startswith("SomeOther") else 0 if holder == "None" else self._count()
        return f"<{type(self).__name__}({holder}, {depth})>"


@public("synchronize")
@core.direct
class Semaphore(core.Semaphore, _Travels):
    """A counter that `acquire` lowers, waiting while it is zero, and `release` raises.

    When a process dies in a `with` block of it, what it had taken is given back. What it took by `acquire` alone is
    not: that may have been meant as a message. Of more than 32 tokens none is given back.

    Attributes:
        recovered: whether the last one that was taken here came from a process that died.
    """

    def __new__(cls, value: int = 1, *, ctx: object = None) -> Semaphore:
        return super().__new__(cls, checked_value(value), False)

    def __init__(self, value: int = 1, *, ctx: object = None) -> None:
        pass

    @property
    def aio(self) -> AsyncSemaphore:
        """The methods as coroutines, for asyncio and trio: `await semaphore.aio.acquire(timeout=1)`."""
        from polyproc._synchronize.async_locks import AsyncSemaphore

        return AsyncSemaphore(self)

    def _get_value(self) -> int:
        return self.get_value()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()})>"


@public("synchronize")
@core.direct
class BoundedSemaphore(Semaphore):
    """A semaphore whose counter never gets above its first value: `release` then raises ValueError.

    What a process held that died is given back, whichever way it was taken.
    """

    def __new__(cls, value: int = 1, *, ctx: object = None) -> BoundedSemaphore:
        made: BoundedSemaphore = core.Semaphore.__new__(cls, checked_value(value), True)
        made._maxvalue = value
        return made

    _maxvalue: int

    def __reduce__(self) -> tuple[Any, ...]:
        return _adopt_bounded, (kind_of(self), *where(self), self._maxvalue)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()}, maxvalue={self._maxvalue})>"


def _adopt_bounded(kind: type | str, chunk: Chunk, offset: int, maxvalue: int) -> BoundedSemaphore:
    made: BoundedSemaphore = adopt(kind, chunk, offset)
    made._maxvalue = maxvalue
    return made


# Condition, Event and Barrier on the C core: a killed waiter neither hangs its waker nor takes another's wake-up.
#
# The algorithms, and what happens at each step, stand in csrc/core/pp_condition.h, pp_event.h and pp_barrier.h.


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
        self.acquire: Callable[..., bool] = self._lock.acquire
        self.release: Callable[[], None] = self._lock.release

    @property
    def aio(self) -> AsyncCondition:
        """The methods as coroutines, for asyncio and trio: `await condition.aio.wait()`."""
        from polyproc._synchronize.async_locks import AsyncCondition

        return AsyncCondition(self)

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
class Event(core.Event):
    """A flag that processes wait for."""

    @property
    def aio(self) -> AsyncEvent:
        """The methods as coroutines, for asyncio and trio: `await event.aio.wait()`."""
        from polyproc._synchronize.async_locks import AsyncEvent

        return AsyncEvent(self)

    def __init__(self, *, ctx: object = None) -> None:
        pass

    def __reduce__(self) -> tuple[Any, ...]:
        return adopt, (kind_of(self), *where(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {'set' if self.is_set() else 'unset'}>"


@public("synchronize")
@core.direct
class Barrier(core.Barrier, threading.Barrier):
    """A place where a number of processes wait for each other.

    A process that is killed while it waits has arrived all the same; one that is killed in the action breaks it.
    """

    @property
    def aio(self) -> AsyncBarrier:
        """The methods as coroutines, for asyncio and trio: `await barrier.aio.wait()`."""
        from polyproc._synchronize.async_locks import AsyncBarrier

        return AsyncBarrier(self)

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
