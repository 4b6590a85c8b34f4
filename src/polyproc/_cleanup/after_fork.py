"""What a forked child must reset, by objects that asked for it; and locks and thread-locals that reset themselves."""

from __future__ import annotations

import itertools
import threading
import weakref

from polyproc._base.log import log
from polyproc._base.modules import public
from polyproc._base.typing import Any, Callable

_afterfork_registry: weakref.WeakValueDictionary[tuple[int, int, Callable[[Any], object]], object] = (
    weakref.WeakValueDictionary()
)
_afterfork_counter = itertools.count()


def register_after_fork(obj: object, func: Callable[[Any], object]) -> None:
    """Call `func(obj)` in each forked child of ours, as long as `obj` lives; in order of registration."""
    _afterfork_registry[(next(_afterfork_counter), id(obj), func)] = obj


def run_after_forkers() -> None:
    """Call what was registered; a failing one is logged and does not stop the others."""
    for (_, _, func), obj in sorted(_afterfork_registry.items(), key=lambda item: item[0][0]):
        try:
            func(obj)
        except Exception as error:  # noqa: BLE001  (somebody else's callback: reported, and the child goes on)
            log.info("after forker raised exception %s", error)


@public("util")
class ForkAwareThreadLock:
    """A thread lock that is free again in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.acquire: Callable[..., bool] = self._lock.acquire
        self.release: Callable[[], None] = self._lock.release
        register_after_fork(self, ForkAwareThreadLock._at_fork_reinit)

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]  # not in typeshed; threading itself relies on it

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *args: Any) -> None:
        self._lock.__exit__(*args)


@public("util")
class ForkAwareLocal(threading.local):
    """A thread-local that is empty again in a forked child."""

    def __init__(self) -> None:
        register_after_fork(self, lambda obj: obj.__dict__.clear())

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()
