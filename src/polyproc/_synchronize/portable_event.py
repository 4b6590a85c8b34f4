"""Event: a flag that processes wait for."""

from __future__ import annotations

from polyproc._aio_attribute import HasAio
from polyproc._public import Remade, public
from polyproc._synchronize.portable_condition import Condition
from polyproc._synchronize.portable_locks import Lock, Semaphore
from polyproc._typing import Any


@public("synchronize")
class Event(Remade, HasAio):
    """A flag that processes wait for."""

    _aio_class = ("polyproc._synchronize.async_locks", "AsyncEvent")

    def __init__(self, *, ctx: Any = None) -> None:
        self._cond = Condition(Lock(ctx=ctx), ctx=ctx)
        self._flag = Semaphore(0, ctx=ctx)

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
        """Set the flag; wake all who wait."""
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
