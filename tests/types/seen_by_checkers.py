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


async def coroutine_methods(queue: JoinableQueue[str], small: SimpleQueue[str], end: Connection[bytes, str]) -> None:
    assert_type(await queue.aio.get(), str)
    assert_type(await queue.aio.get_many(3), list[str])
    assert_type(await queue.aio.put("a", timeout=1), None)
    assert_type(await queue.aio.qsize(), int)
    assert_type(await queue.aio.task_done(), None)
    assert_type(await queue.aio.join(), None)
    assert_type([item async for item in queue], list[str])
    assert_type(await small.aio.get(), str)
    assert_type(await end.aio.recv(), str)
    assert_type(await end.aio.send(b"a"), None)
    assert_type(await end.aio.poll(0.1), bool)
    queue.aio.get_lots()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


async def coroutine_methods_of_locks() -> None:
    assert_type(await polyproc.Lock().aio.acquire(timeout=1), bool)
    assert_type(await polyproc.RLock().aio.release(), None)
    assert_type(await polyproc.Semaphore(2).aio.get_value(), int)
    assert_type(await polyproc.Condition().aio.wait(1), bool)
    assert_type(await polyproc.Event().aio.is_set(), bool)
    assert_type(await polyproc.Barrier(2).aio.wait(), int)
    async with polyproc.Lock(), polyproc.Condition().aio as got:
        assert_type(got, bool)
    polyproc.Event().aio.acquire()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


async def coroutine_methods_of_pools(pool: Pool) -> None:
    assert_type(await pool.aio.apply(square, (3,)), int)
    assert_type(await pool.aio.map(square, [3]), list[int])
    assert_type([x async for x in pool.aio.imap(square, [3])], list[int])
    assert_type(await pool.apply_async(square, (3,)), int)
    assert_type(await pool.map_async(square, [3]).aio.get(1), list[int])
    assert_type(pool.map(square, [3]), list[int])
    assert_type([x for x in pool.imap(square, [3])], list[int])
    assert_type(await polyproc.ProcessPoolExecutor().submit(square, 3), int)


async def coroutine_methods_of_a_process() -> None:
    process = polyproc.Process(target=square, args=(3,))
    assert_type(await process, int)
    assert_type(await process.aio.result(), int)
    assert_type(await process.aio.stop(1), int)
    assert_type(await process.aio.exception(), BaseException | None)
