"""SyncManager: a manager of the types that programs share most."""

from __future__ import annotations

import queue
import threading
from typing import Any

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
from polyproc._pool.pool import Pool
from polyproc._public import public
from polyproc._threads.dummy_manager import Array, Namespace


@public("managers")
class SyncManager(BaseManager):
    """Makes queues, locks, lists, dictionaries and other objects in a server process."""


_TYPES: tuple[tuple[str, Any, Any], ...] = (
    ("Queue", queue.Queue, None),
    ("JoinableQueue", queue.Queue, None),
    ("Event", threading.Event, EventProxy),
    ("Lock", threading.Lock, AcquirerProxy),
    ("RLock", threading.RLock, AcquirerProxy),
    ("Semaphore", threading.Semaphore, AcquirerProxy),
    ("BoundedSemaphore", threading.BoundedSemaphore, AcquirerProxy),
    ("Condition", threading.Condition, ConditionProxy),
    ("Barrier", threading.Barrier, BarrierProxy),
    ("Pool", Pool, PoolProxy),
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
