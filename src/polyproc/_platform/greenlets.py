"""Waits in interpreters that gevent or eventlet has patched: who waits lets the other greenlets of its thread run.

Such a library replaces functions of the standard library, before or after we are imported, by some that switch to
another greenlet. A wait of ours uses none of them. It asks here whether the thread that waits has other greenlets.
Where it has, it looks, lets them run for a moment, looks again, and so on: less and less often, at last 100 times a
second. Where it has none, it waits in the kernel, by the interpreter's own functions (`own_module`).

Our threads and their locks are what `threading` makes, so greenlets where that is patched; they wait as all others do.
"""

from __future__ import annotations

import sys
from _frozen_importlib import module_from_spec

from polyproc._lazy import loaded

TYPE_CHECKING = False  # a parent that only forks loads this: each forked child would pay for `typing`
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

# With any of them patched, a program relies on greenlets that go on while others wait.
_PATCHED = ("threading", "thread", "time", "select", "socket", "os")
_FIRST_TICK, _LAST_TICK = 0.0001, 0.01  # seconds


def may_switch() -> bool:
    """Return whether such a library is there at all: else all that is asked here costs next to nothing."""
    return "gevent.monkey" in sys.modules or "eventlet.patcher" in sys.modules


def _gevents_sleep(monkey: Any) -> Any:
    if not any(map(monkey.is_module_patched, _PATCHED)):
        return None
    hub = sys.modules["gevent._hub_local"].get_hub_if_exists()  # one for each thread
    if hub is None or sys.modules["greenlet"].getcurrent() is hub:
        return None
    return sys.modules["gevent"].sleep


def _eventlets_sleep(patcher: Any) -> Any:
    if not any(map(patcher.is_monkey_patched, _PATCHED)):
        return None
    hub = getattr(sys.modules["eventlet.hubs"]._threadlocal, "hub", None)
    if hub is None or sys.modules["greenlet"].getcurrent() is hub.greenlet:
        return None
    return sys.modules["eventlet.greenthread"].sleep


def _sleep() -> Any:
    """Return what lets the other greenlets of this thread run for some seconds; None where there are none."""
    monkey = loaded("gevent.monkey")
    sleep = None if monkey is None else _gevents_sleep(monkey)
    if sleep is None:
        patcher = loaded("eventlet.patcher")
        sleep = None if patcher is None else _eventlets_sleep(patcher)
    return sleep


def let_run(turns: int, left: float = -1.0) -> bool:
    """Run the other greenlets of this thread; return False if there are none, so that one may wait in the kernel.

    Args:
        turns: how often that was done in this wait: what makes the moment longer.
        left: the seconds that the wait may still take; negative for no limit.
    """
    sleep = _sleep()
    if sleep is None:
        return False
    seconds = min(_FIRST_TICK * 2 ** min(turns - 1, 10), _LAST_TICK) if turns else 0.0
    sleep(min(seconds, left) if left >= 0 else seconds)
    return True


# What a forked child has of its parent's greenlets, kept: one that is freed is woken to end, and would do what is its
# parent's to do.
_left: list[object] = []


def after_fork_in_child() -> None:
    """In a forked child of ours: leave the copies of its parent's greenlets, which must not run a second time."""
    if loaded("gevent") is not None:
        _leave_gevents()
    hubs: Any = loaded("eventlet.hubs")
    hub = None if hubs is None else getattr(hubs._threadlocal, "hub", None)
    if hub is not None:
        _left.append(hub)
        hubs.use_hub()
        _forget_threads()


def _forget_threads() -> None:
    """Do what `threading` does after a fork, and eventlet has it not do: only the thread that forked is there."""
    threading: Any = loaded("threading")
    current = threading.get_ident()
    for ident in [ident for ident in threading._active if ident != current]:
        del threading._active[ident]
    for names in (vars(threading), threading._shutdown.__globals__):  # a copy of the module, from which that was taken
        names.get("_shutdown_locks", set()).clear()  # up to 3.12


def _leave_gevents() -> None:
    gevent: Any = sys.modules["gevent"]
    hub = sys.modules["gevent._hub_local"].get_hub_if_exists()
    if hub is None:
        return
    current = sys.modules["greenlet"].getcurrent()
    gevent.reinit(hub)  # before its descriptors are closed, which the parent's loop has, too
    _left.extend([hub, hub.loop, list(getattr(hub.loop, "_callbacks", None) or ())])
    if hub.parent is not current:  # who destroys a hub goes on in its parent: in the main greenlet's copy
        current.parent = hub.parent
        hub.parent = current
    hub.destroy(destroy_loop=True)  # another is made when somebody needs one


class Local:
    """Fields of the thread that calls this; of its greenlet, once a library has replaced `threading.local`.

    What is made of `threading.local` at an import keeps to threads when a program patches afterwards.
    """

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self._kind: Any = None
        self()

    def __call__(self) -> Any:
        kind = sys.modules["threading"].local
        if kind is not self._kind:
            self._own: Any = type("Fields", (kind,), dict(self._fields))()
            self._kind = kind
        return self._own


def own_socket(sock: Any) -> Any:
    """Return the interpreter's own socket that is inside of one of such a library, or the socket itself."""
    while not isinstance(sock, sys.modules["_socket"].socket):
        inside = getattr(sock, "_sock", sock)  # gevent's
        sock = inside if inside is not sock else sock.fd  # eventlet's
    return sock


def own_socket_class() -> Any:
    """Return `socket.socket` as the interpreter has it, to be derived from."""
    kinds = sys.modules["_socket"].socket.__subclasses__()
    return next(kind for kind in kinds if (kind.__module__, kind.__qualname__) == ("socket", "socket"))


def own_module(name: str) -> ModuleType:
    """Return a module of the interpreter's, written in C, as it was before anybody replaced what is in it."""
    spec = sys.modules[name].__spec__ if name in sys.modules else __import__(name).__spec__
    assert spec is not None and spec.loader is not None  # it is part of every interpreter
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
