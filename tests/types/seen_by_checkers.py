"""What type checkers see of the public names. Nobody runs this: mypy and pyright check it (`make lint`)."""

from __future__ import annotations

from typing import Any, assert_type

import polyproc
from polyproc.connection import Connection
from polyproc.context import ForkProcess
from polyproc.managers import DictProxy, EventProxy, ListProxy, PoolProxy, SetProxy, SyncManager, ValueProxy
from polyproc.pool import Pool
from polyproc.queues import JoinableQueue, Queue, SimpleQueue
from polyproc.synchronize import Barrier, Condition, Event, Lock, RLock, Semaphore


def square(x: int) -> int:
    return x * x


def the_factories() -> None:
    assert_type(polyproc.Queue(), Queue[Any])
    assert_type(polyproc.JoinableQueue(3), JoinableQueue[Any])
    assert_type(polyproc.SimpleQueue(), SimpleQueue[Any])
    assert_type(polyproc.Lock(), Lock)
    assert_type(polyproc.RLock(), RLock)
    assert_type(polyproc.Semaphore(2), Semaphore)
    assert_type(polyproc.Condition(), Condition)
    assert_type(polyproc.Event(), Event)
    assert_type(polyproc.Barrier(2), Barrier)
    assert_type(polyproc.Pool(2), Pool)
    assert_type(polyproc.Pipe(), tuple[Connection[Any, Any], Connection[Any, Any]])
    assert_type(polyproc.cpu_count(), int)
    assert_type(polyproc.Manager(), SyncManager)


def a_process() -> None:
    process = polyproc.Process(target=square, args=(3,))
    assert_type(process, polyproc.Process[int])
    assert_type(process.result(), int)
    assert_type(process.exitcode, int | None)
    polyproc.get_context("fork").Process(target=square, args=(3,)).start()


def a_future() -> None:
    with polyproc.ProcessPoolExecutor(2) as executor:
        assert_type(executor.submit(square, 3), polyproc.Future[int])
        assert_type(executor.submit(square, 3).result(), int)
    assert_type(polyproc.Pool(2).options(timeout=3).submit(square, 3), polyproc.Future[int])


@polyproc.task(timeout=3)
def cube(x: int) -> int:
    return x**3


def a_task() -> None:
    assert_type(cube(3), polyproc.Future[int])


def a_manager(manager: SyncManager) -> None:
    assert_type(manager.dict(a=1), DictProxy[str, int])
    assert_type(manager.dict({1: "a"}), DictProxy[int, str])
    assert_type(manager.dict(a=1)["a"], int)
    assert_type(manager.list([1]), ListProxy[int])
    assert_type(manager.list([1])[0], int)
    assert_type(manager.set([1]), SetProxy[int])
    assert_type(manager.Event(), EventProxy)
    assert_type(manager.Value("i", 3), ValueProxy[int])
    assert_type(manager.Value("i", 3).value, int)
    assert_type(manager.Pool(2), PoolProxy)


def a_context() -> None:
    context = polyproc.get_context("fork")
    assert_type(context.Queue(), Queue[Any])
    assert_type(ForkProcess(target=square, args=(3,)).result(), int)
