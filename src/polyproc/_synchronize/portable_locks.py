"""Lock, RLock, Semaphore and BoundedSemaphore, over a counter of tokens."""

from __future__ import annotations

import os
import threading
from types import TracebackType

from polyproc._aio_attribute import HeldByAio
from polyproc._platform.handles import due
from polyproc._process.process import current_process
from polyproc._public import Remade, public
from polyproc._synchronize.semaphore_value import SEM_VALUE_MAX, checked_value
from polyproc._synchronize.token import counter_of
from polyproc._typing import Any

RECURSIVE_MUTEX, SEMAPHORE = 0, 1
_CALLER = "the thread that called acquire() calls release()"
_NOT_OWNED = f"attempt to release recursive lock not owned by thread: {_CALLER}"
_TOO_OFTEN = "semaphore or lock released too many times: each release() belongs to one acquire() before it"


class TokenLock(Remade, HeldByAio):
    """What the four have in common: a counter, and who of this process holds it how often."""

    _aio_class = ("polyproc._synchronize.async_locks", "AsyncLock")

    def __init__(self, kind: int, value: int, maxvalue: int, *, ctx: Any = None) -> None:
        self._kind = kind
        self._maxvalue = maxvalue
        self._tokens = counter_of(checked_value(value))
        self._forget_holds()

    def _forget_holds(self) -> None:
        self._count = 0
        self._holder: tuple[int, int] | None = None

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it; wait while others hold it, up to `timeout` seconds if given. Return whether it was taken."""
        if timeout is not None:
            due(timeout)  # what is no number is refused, also where nobody waits
        if self._kind == RECURSIVE_MUTEX and self._is_mine():
            self._count += 1
            return True
        if not self._tokens.acquire(block, timeout):
            return False
        self._holder = (os.getpid(), threading.get_ident())
        self._count = self._count + 1 if self._kind == SEMAPHORE else 1
        return True

    def release(self) -> None:
        """Give it back."""
        if self._kind == RECURSIVE_MUTEX:
            if not self._is_mine():
                raise AssertionError(_NOT_OWNED)
            if self._count > 1:
                self._count -= 1
                return
            self._forget_holds()
        else:
            if self._maxvalue != SEM_VALUE_MAX and self._tokens.value() >= self._maxvalue:
                raise ValueError(_TOO_OFTEN)
            self._count = max(self._count - 1, 0)
        self._tokens.release()

    def _is_mine(self) -> bool:
        return self._count > 0 and self._holder == (os.getpid(), threading.get_ident())

    def _get_value(self) -> int:
        return self._tokens.value()

    def _is_zero(self) -> bool:
        return self._tokens.value() == 0

    def locked(self) -> bool:
        """Return whether it cannot be taken at this moment."""
        return self._is_zero()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def __getstate__(self) -> dict[str, Any]:
        return {"_kind": self._kind, "_maxvalue": self._maxvalue, "_tokens": self._tokens}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_holds()

    def _describe(self) -> tuple[str, int | str]:
        """Return (who holds it, how often) for repr."""
        if self._is_mine():
            name = current_process().name
            if threading.current_thread().name != "MainThread":
                name += "|" + threading.current_thread().name
            return name, self._count
        if self._tokens.value() == 1:
            return "None", 0
        if self._count > 0 and self._holder is not None and self._holder[0] == os.getpid():
            return "SomeOtherThread", "nonzero"
        return "SomeOtherProcess", "nonzero"


@public("synchronize")
class Semaphore(TokenLock):
    """A counter that `acquire` lowers, waiting while it is zero, and `release` raises."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        super().__init__(SEMAPHORE, value, SEM_VALUE_MAX, ctx=ctx)

    def get_value(self) -> int:
        """Return the counter as it is at this moment."""
        return self._get_value()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self._get_value()})>"


@public("synchronize")
class BoundedSemaphore(Semaphore):
    """A semaphore whose counter never gets above its first value: `release` then raises ValueError."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        TokenLock.__init__(self, SEMAPHORE, value, value, ctx=ctx)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self._get_value()}, maxvalue={self._maxvalue})>"


@public("synchronize")
class Lock(TokenLock):
    """A lock. Any process or thread may release it."""

    def __init__(self, *, ctx: Any = None) -> None:
        super().__init__(SEMAPHORE, 1, 1, ctx=ctx)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={self._describe()[0]})>"


@public("synchronize")
class RLock(TokenLock):
    """A lock that its holder may take again; it must release it as often, and nobody else may."""

    _aio_class = ("polyproc._synchronize.async_locks", "AsyncRLock")

    def __init__(self, *, ctx: Any = None) -> None:
        super().__init__(RECURSIVE_MUTEX, 1, 1, ctx=ctx)

    def __repr__(self) -> str:
        owner, count = self._describe()
        return f"<{type(self).__name__}({owner}, {count})>"
