"""SyncManager: a manager of the types that programs share most."""

from __future__ import annotations

import queue  # noqa: F401  (what is in it is looked up by name)
import sys
import threading  # noqa: F401  (the same)

from polyproc._managers.manager import BaseManager
from polyproc._managers.proxies import (
    AcquirerProxy,
    ArrayProxy,
    BarrierProxy,
    ConditionProxy,
    DictProxy,
    EventProxy,
    IteratorProxy,
    ListProxy,
    NamespaceProxy,
    PoolProxy,
    SetProxy,
    ValueProxy,
)
from polyproc._managers.values import Value
from polyproc._public import public
from polyproc._threads.dummy_manager import Array, Namespace
from polyproc._typing import Any


@public("managers")
class SyncManager(BaseManager):
    """Makes queues, locks, lists, dictionaries and other objects in a server process."""


def _pool(*args: Any, **kwds: Any) -> Any:
    """Return a pool: a server that makes none loads none."""
    from polyproc._pool.pool import Pool  # noqa: PLC0415

    return Pool(*args, **kwds)


class _Now:
    """Makes what a module makes now by a name: it may have been replaced since this was imported (see greenlets.py)."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *args: Any, **kwds: Any) -> Any:
        return getattr(sys.modules[self._module], self._name)(*args, **kwds)


_TYPES: tuple[tuple[str, Any, Any], ...] = (
    ("Queue", _Now("queue", "Queue"), None),
    ("JoinableQueue", _Now("queue", "Queue"), None),
    ("Event", _Now("threading", "Event"), EventProxy),
    ("Lock", _Now("threading", "Lock"), AcquirerProxy),
    ("RLock", _Now("threading", "RLock"), AcquirerProxy),
    ("Semaphore", _Now("threading", "Semaphore"), AcquirerProxy),
    ("BoundedSemaphore", _Now("threading", "BoundedSemaphore"), AcquirerProxy),
    ("Condition", _Now("threading", "Condition"), ConditionProxy),
    ("Barrier", _Now("threading", "Barrier"), BarrierProxy),
    ("Pool", _pool, PoolProxy),
    ("list", list, ListProxy),
    ("dict", dict, DictProxy),
    ("set", set, SetProxy),
    ("Value", Value, ValueProxy),
    ("Array", Array, ArrayProxy),
    ("Namespace", Namespace, NamespaceProxy),
)
for _typeid, _callable, _proxy in _TYPES:
    SyncManager.register(_typeid, _callable, _proxy)
# What methods return, and nobody asks for by name.
SyncManager.register("Iterator", proxytype=IteratorProxy, create_method=False)
SyncManager.register("AsyncResult", create_method=False)
