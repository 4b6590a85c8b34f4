"""Proxies' methods as coroutines, in asyncio and trio."""

import threading
import time

import pytest

import polyproc
from support.loops import cut_short, sleep


@pytest.fixture
def manager():
    with polyproc.get_context("fork").Manager() as made:
        yield made
    made.join()


def test_calls_and_errors(run, manager):
    async def main():
        table = manager.dict(a=1)
        await table.aio.update({"b": 2})
        assert await table.aio.get("b") == 2
        assert await table.aio.setdefault("c", 3) == 3
        with pytest.raises(KeyError):
            await table.aio.pop("missing")
        assert sorted(await table.aio.keys()) == ["a", "b", "c"]
        with pytest.raises(AttributeError):
            table.aio.no_such_method  # noqa: B018
        numbers = manager.list([3, 1])
        await numbers.aio.sort()
        return await numbers.aio.copy()

    assert run(main) == [1, 3]


def test_a_loop_goes_on_while_a_call_waits(run, manager):
    queue, event = manager.Queue(), manager.Event()

    async def main():
        timer = threading.Timer(0.3, lambda: (queue.put("late"), event.set()))
        timer.start()
        start = time.monotonic()
        assert await cut_short(0.05, queue.aio.get)
        assert time.monotonic() - start < 0.25
        got = await queue.aio.get()
        assert await event.aio.wait(30) is True
        timer.join()
        return got

    assert run(main) == "late"


def test_a_get_that_is_cancelled_takes_nothing(run, manager):
    queue = manager.Queue()

    async def main():
        for n in range(5):
            assert await cut_short(0.02 * n, queue.aio.get) or n == 0
        await sleep(0.6)  # a server looks at who waits some times a second
        for n in range(5):
            await queue.aio.put(n)
        return [await queue.aio.get() for _ in range(5)]

    assert run(main) == list(range(5))


def test_a_lock_belongs_to_the_task(run, manager):
    lock, plain = manager.RLock(), manager.Lock()

    async def main():
        async with lock.aio, lock.aio:  # its holder may take it again: all calls of a task come from one place
            assert not lock.acquire(blocking=False)  # this thread is somebody else
        assert lock.acquire(blocking=False)
        lock.release()
        async with plain.aio:
            assert not await plain.aio.acquire(False)
        return await plain.aio.acquire(timeout=5)

    assert run(main) is True
    plain.release()


def test_what_has_no_coroutine(run, manager):
    barrier, namespace = manager.Barrier(1), manager.Namespace(x=1)

    async def main():
        with pytest.raises(AttributeError, match="'parties' of BarrierProxy is not a method"):
            barrier.aio.parties  # noqa: B018
        assert await barrier.aio.wait() == 0
        with pytest.raises(AttributeError):
            namespace.aio  # noqa: B018
        namespace.aio = 5
        return namespace.aio

    assert run(main) == 5


def test_outside_of_a_loop(manager):
    call = manager.list([1]).aio.copy()
    with pytest.raises(RuntimeError, match="async"):
        call.send(None)


def test_a_server_that_ends_while_a_call_waits(run):
    manager = polyproc.get_context("fork").Manager()
    queue = manager.Queue()

    async def main():
        threading.Timer(0.2, manager._process.kill).start()
        with pytest.raises((EOFError, OSError)):
            await queue.aio.get()

    run(main)
    manager.shutdown()
    manager.join()
