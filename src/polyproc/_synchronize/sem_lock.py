"""SemLock: what Lock, RLock and the semaphores are called together in the standard library.

Here they are no subclasses of it: to each of them `isinstance` says yes. Calling it makes the one that fits.
"""

from __future__ import annotations

from abc import ABC

from polyproc._base.modules import public
from polyproc._base.typing import Any
from polyproc._synchronize.primitives import (
    RECURSIVE_MUTEX,
    SEM_VALUE_MAX,
    BoundedSemaphore,
    Lock,
    RLock,
    Semaphore,
)


@public("synchronize")
class SemLock(ABC):  # noqa: B024  (it is there for isinstance)
    """A counter from 0 to `maxvalue` that starts at `value`, or a lock that its holder may take again."""

    def __new__(cls, kind: int, value: int, maxvalue: int, *, ctx: object = None) -> Any:
        """Return an RLock, a Lock or a semaphore. Raises ValueError for a value that cannot be."""
        if not 0 <= value <= maxvalue:
            raise ValueError(f"a counter cannot start at {value} and end at {maxvalue}")
        if kind != RECURSIVE_MUTEX and maxvalue >= SEM_VALUE_MAX:
            return Semaphore(value, ctx=ctx)
        lock: Any
        if maxvalue == 1:
            lock = RLock(ctx=ctx) if kind == RECURSIVE_MUTEX else Lock(ctx=ctx)
        else:
            lock = BoundedSemaphore(maxvalue, ctx=ctx)
        for _ in range(maxvalue - value):
            lock.acquire()
        return lock


for _kind in (Lock, RLock, Semaphore):
    SemLock.register(_kind)
