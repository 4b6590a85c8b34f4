"""Lock, RLock, Semaphore and BoundedSemaphore on the C core: they outlive their owners.

When a process dies that holds one, the next `acquire` simply succeeds: `recovered` is then true for that hold, and an
OwnerDiedWarning is given once. The algorithms, and what happens at each step, stand in csrc/core/pp_lock.h and
pp_semaphore.h.
"""

from __future__ import annotations

import atexit
import threading

import polyproc._core as core
from polyproc._aio_attribute import HeldByAio
from polyproc._memory.chunk import Chunk, where
from polyproc._process.process import current_process
from polyproc._public import kind_of, of_kind, public
from polyproc._synchronize.semaphore_value import checked_value
from polyproc._typing import TYPE_CHECKING, Any, Callable, TypeVar

T = TypeVar("T")

# A process that ends in good order may mean the lock that it holds: somebody else releases it.
atexit.register(core.leave)


def adopt(kind: type[T] | str, chunk: Chunk, offset: int) -> T:
    """Make, in the process that received it, a handle of a class from its place."""
    return of_kind(kind)._adopt(chunk.id, offset)  # type: ignore[no-any-return]


def _holder(lock: Any) -> str:
    """Return who holds a lock, as repr says it."""
    if lock._is_mine():
        name = current_process().name
        thread = threading.current_thread().name
        return name if thread == "MainThread" else f"{name}|{thread}"
    if not lock.locked():
        return "None"
    return "SomeOtherThread" if lock._count() > 0 else "SomeOtherProcess"


class _Travels(HeldByAio):
    """What Lock, RLock and Semaphore have in common: how they are pickled, and the old names of their state."""

    _aio_class = ("polyproc._synchronize.async_locks", "AsyncLock")

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

    _aio_class = ("polyproc._synchronize.async_locks", "AsyncRLock")

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
