"""`.aio`: what blocks, as coroutines, in asyncio and trio. While one waits, the loop goes on."""

import asyncio
import collections
import itertools
import os
import queue
import threading
import time

import pytest

import polyproc
from polyproc import queues
from support import pool_work, targets
from support.loops import cut_short, sleep, together

ctx = polyproc.get_context("fork")
LOCKS = ["Lock", "RLock", "Semaphore", "BoundedSemaphore"]
QUEUES = ["Queue", "JoinableQueue", "SimpleQueue"]


def hold(lock, has_it, let_go):
    with lock:
        has_it.set()
        let_go.wait(60)


class LastingDeque(collections.deque):
    """Between "it is there" and "it is counted" lies a moment."""

    def append(self, item):
        super().append(item)
        time.sleep(0.02)

    def extend(self, items):
        super().extend(items)
        time.sleep(0.02)


def test_an_imap_is_told_of_what_was_taken_before_it_was_counted():
    async def read(results):
        return [item async for item in results]

    with ctx.Pool(2) as pool:
        results = pool.aio.imap(pool_work.double, range(12), buffersize=1)
        results._items = LastingDeque(results._items)
        assert asyncio.run(asyncio.wait_for(read(results), 30)) == [2 * number for number in range(12)]


def later(seconds, function, *args):
    timer = threading.Timer(seconds, function, args)
    timer.start()
    return timer


# -- processes -----------------------------------------------------------------------------------------------------


def test_a_process(run, method):
    context = polyproc.get_context(method)

    async def main():
        process = context.Process(target=targets.add, args=(1, 2))
        process.start()
        assert await process == 3
        assert await process.aio.exception() is None
        failing = context.Process(target=targets.raise_key_error)
        failing.start()
        with pytest.raises(KeyError):
            await failing
        assert isinstance(await failing.aio.exception(), KeyError)
        waits = context.Process(target=time.sleep, args=(60,))
        waits.start()
        await waits.aio.join(0.05)
        assert waits.exitcode is None
        assert await cut_short(0.05, waits.aio.join)
        with pytest.raises(polyproc.TimeoutError):
            await waits.aio.result(0.01)
        await waits.aio.terminate()
        await waits.aio.join()
        with pytest.raises(polyproc.ProcessDied):
            await waits
        stopped = context.Process(target=time.sleep, args=(60,))
        stopped.start()
        assert await stopped.aio.stop(0.5) != 0
        with pytest.raises(AttributeError, match="'exitcode' of .*Process is not a method"):
            stopped.aio.exitcode  # noqa: B018
        with pytest.raises(AssertionError):
            await context.Process(target=targets.nothing).aio.join()

    run(main)


# -- locks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOCKS)
def test_a_lock_that_another_process_holds(run, kind):
    lock = getattr(ctx, kind)()
    has_it, let_go = ctx.Event(), ctx.Event()
    holder = ctx.Process(target=hold, args=(lock, has_it, let_go))
    holder.start()

    async def main():
        assert await has_it.aio.wait(60)
        assert not await lock.aio.acquire(False)
        assert not await lock.aio.acquire(timeout=0.05)
        assert await cut_short(0.05, lock.aio.acquire)
        timer = later(0.1, let_go.set)
        async with lock:
            assert not lock.acquire(False)
        async with lock.aio:
            pass
        timer.join()
        await holder

    run(main)
    assert lock.acquire(timeout=60)  # who was cancelled holds nothing
    lock.release()


@pytest.mark.parametrize("kind", LOCKS)
def test_tasks_exclude_each_other(run, kind):
    lock, inside, most = getattr(ctx, kind)(), 0, 0

    async def task():
        nonlocal inside, most
        for _ in range(5):
            async with lock:
                inside += 1
                most = max(most, inside)
                await sleep(0.002)
                inside -= 1

    async def main():
        await together(task, task, task)

    run(main)
    assert most == 1


def test_an_rlock_belongs_to_a_task(run):
    lock = ctx.RLock()

    async def main():
        async with lock, lock:
            assert not await polyproc_other(lock)
            assert not lock.acquire(False)  # this thread is somebody else
        assert lock.acquire(False)
        lock.release()
        with pytest.raises(AssertionError):
            await lock.aio.release()

    async def polyproc_other(lock):
        async def attempt():
            return await lock.aio.acquire(False)

        [taken] = await together(attempt)
        return taken

    run(main)


def test_acquire_that_is_cancelled_at_any_moment_holds_nothing(run):
    locks = [getattr(ctx, kind)() for kind in LOCKS]

    async def main():
        for lock in locks:
            for moment in range(15):
                holder = threading.Thread(target=hold_for, args=(lock, 0.002))
                holder.start()

                async def take(lock=lock):
                    async with lock:
                        pass

                await cut_short(moment * 0.0003, take)
                holder.join()

    run(main)
    for lock in locks:
        assert lock.acquire(timeout=60)
        lock.release()


def hold_for(lock, seconds):
    with lock:
        time.sleep(seconds)


# -- condition, event, barrier -------------------------------------------------------------------------------------


def test_a_condition(run):
    condition, told = ctx.Condition(), []

    async def waits():
        async with condition:
            assert not await condition.aio.wait(0.01)
            told.append("waits")
            assert await condition.aio.wait_for(lambda: "go" in told, 60)
            told.append("gone")

    async def notifies():
        while told.count("waits") < 2:
            await sleep(0.01)
        async with condition:
            told.append("go")
            await condition.aio.notify_all()

    async def main():
        await together(waits, waits, notifies)
        with pytest.raises(AssertionError):
            await condition.aio.notify()
        with pytest.raises(AssertionError):
            await condition.aio.wait(0.01)
        async with condition:
            assert not await condition.aio.wait_for(lambda: False, 0.02)

    run(main)
    assert told.count("gone") == 2


def test_who_is_cancelled_in_a_condition_has_the_lock_again(run):
    condition = ctx.Condition()

    async def main():
        async with condition:
            assert await cut_short(0.05, condition.aio.wait)
            assert not condition.acquire(False)  # held, and not by this thread
        assert condition.acquire(False)
        condition.notify()
        condition.release()

    run(main)


def test_an_event(run):
    event = ctx.Event()

    async def main():
        assert not await event.aio.wait(0.02)
        assert await cut_short(0.02, event.aio.wait)
        timer = later(0.05, event.set)
        assert await event.aio.wait()
        assert await event.aio.is_set()
        await event.aio.clear()
        assert not event.is_set()
        timer.join()

    run(main)


def test_a_barrier(run):
    barrier = ctx.Barrier(3)

    async def main():
        assert sorted(await together(*[barrier.aio.wait] * 3)) == [0, 1, 2]
        assert await cut_short(0.02, barrier.aio.wait)
        while not barrier.broken:
            await sleep(0.005)
        with pytest.raises(threading.BrokenBarrierError):
            await barrier.aio.wait()
        await barrier.aio.reset()
        with pytest.raises(threading.BrokenBarrierError):
            await barrier.aio.wait(0.02)

    run(main)


@pytest.mark.skipif(
    not polyproc.native, reason="the standard library's cannot tell those who leave from those who come"
)
def test_a_barrier_that_has_let_all_go_is_not_broken_by_a_cancelled_task():
    async def visit(barrier):
        task = asyncio.create_task(barrier.aio.wait())
        while not barrier.n_waiting:
            await asyncio.sleep(0.0005)
        barrier.wait(10)  # the last who comes; the thread of the task may not have woken up yet
        task.cancel()
        await asyncio.wait([task])

    for _ in range(100):
        barrier = ctx.Barrier(2)
        asyncio.run(visit(barrier))
        assert not barrier.broken


# -- queues --------------------------------------------------------------------------------------------------------


def put_all(queue, items, seconds):
    for item in items:
        time.sleep(seconds)
        queue.put(item)


@pytest.mark.parametrize("kind", QUEUES)
def test_a_queue(run, kind):
    made = getattr(ctx, kind)()
    producer = ctx.Process(target=put_all, args=(made, range(20), 0.002))

    async def main():
        with pytest.raises(queue.Empty):
            await made.aio.get_nowait()
        with pytest.raises(queue.Empty):
            await made.aio.get(timeout=0.02)
        assert await cut_short(0.02, made.aio.get)
        producer.start()

        async def take():
            return [await made.aio.get() for _ in range(5)]

        taken = await together(take, take, take, take)
        assert sorted(itertools.chain(*taken)) == list(range(20))
        await producer
        await made.aio.put("x")
        assert await made.aio.get() == "x"

    run(main)
    made.close()


def test_a_get_that_is_cancelled_takes_nothing(run):
    made = ctx.Queue()

    async def main():
        for number in range(30):
            timer = later(0.003, made.put, number)
            found = []

            async def get(found=found):
                found.append(await made.aio.get())

            await cut_short(number * 0.0002, get)
            timer.join()
            assert (found or [await made.aio.get(timeout=60)]) == [number]

    run(main)
    made.close()
    made.join_thread()


def test_a_full_queue(run):
    made = ctx.Queue(2)

    async def main():
        await made.aio.put_many([1, 2])
        with pytest.raises(queue.Full):
            await made.aio.put(3, False)
        with pytest.raises(queue.Full):
            await made.aio.put(3, timeout=0.02)
        assert await cut_short(0.02, lambda: made.aio.put(3))
        timer = later(0.05, made.get)
        await made.aio.put(4)
        timer.join()
        found = [await made.aio.get()]
        found += await made.aio.get_many(1)
        return found

    assert run(main) == [2, 4]
    made.close()
    made.join_thread()


def test_a_queue_to_its_end(run):
    made = ctx.Queue()
    producer = ctx.Process(target=put_and_shut_down, args=(made,))
    producer.start()

    async def main():
        found = [item async for item in made]
        with pytest.raises(queues.ShutDown):
            await made.aio.get()
        await producer
        return found

    assert run(main) == list(range(10))
    made.close()


def put_and_shut_down(queue):
    put_all(queue, range(10), 0.005)
    queue.shutdown()


def test_a_joinable_queue(run):
    made = ctx.JoinableQueue()

    async def main():
        await made.aio.put(1)
        assert await cut_short(0.02, made.aio.join)
        assert await made.aio.get() == 1
        timer = later(0.05, made.task_done)
        await made.aio.join()
        timer.join()
        await made.aio.put_many([2, 3])
        assert await made.aio.get_many() in ([2], [2, 3])

    run(main)
    made.close()
    made.join_thread()


# -- connections ---------------------------------------------------------------------------------------------------


def test_a_connection(run):
    ours, theirs = ctx.Pipe()

    async def main():
        assert not await ours.aio.poll()
        assert not await ours.aio.poll(0.02)
        assert await cut_short(0.02, ours.aio.recv)
        timer = later(0.05, theirs.send, {"a": 1})
        assert await ours.aio.poll(None)
        assert await ours.aio.recv() == {"a": 1}
        timer.join()
        await theirs.aio.send_bytes(b"12345", 1, 3)
        assert await ours.aio.recv_bytes() == b"234"
        buffer = bytearray(8)
        await theirs.aio.send_bytes(b"xyz")
        assert await ours.aio.recv_bytes_into(buffer, 2) == 3
        assert buffer == b"\0\0xyz\0\0\0"
        await theirs.aio.send_bytes(b"123456789")
        with pytest.raises(polyproc.BufferTooShort):
            await ours.aio.recv_bytes_into(buffer)
        large = b"x" * 4_000_000  # more than any pipe takes: one waits for the other
        _, found = await together(lambda: ours.aio.send(large), theirs.aio.recv)
        assert found == large
        theirs.close()
        with pytest.raises(EOFError):
            await ours.aio.recv()

    run(main)
    ours.close()


def test_a_message_that_is_half_there_stops_nobody(run):
    """Who is cancelled in the middle of it leaves it to who receives next."""
    ours, theirs = ctx.Pipe()

    async def main():
        os.write(theirs.fileno(), b"\0\0\0\4ab")
        assert await cut_short(0.1, ours.aio.recv_bytes)
        assert await ours.aio.poll()
        os.write(theirs.fileno(), b"cd")
        assert await ours.aio.recv_bytes() == b"abcd"

    run(main)
    ours.close()
    theirs.close()


# -- pools ---------------------------------------------------------------------------------------------------------


def test_a_pool(run):
    async def main():
        async with ctx.Pool(2) as pool:
            assert await pool.aio.apply(pool_work.double, (4,)) == 8
            assert await pool.aio.map(pool_work.double, range(100)) == list(range(0, 200, 2))
            assert await pool.aio.starmap(targets.add, [(1, 2), (3, 4)]) == [3, 7]
            assert [x async for x in pool.imap(pool_work.double, range(50))] == list(range(0, 100, 2))
            assert [x async for x in pool.aio.imap(pool_work.double, range(50), 7)] == list(range(0, 100, 2))
            found = [x async for x in pool.aio.imap_unordered(pool_work.double, range(50))]
            assert sorted(found) == list(range(0, 100, 2))
            result = pool.apply_async(pool_work.double, (5,))
            assert await result == 10
            slow = pool.apply_async(time.sleep, (0.2,))
            with pytest.raises(polyproc.TimeoutError):
                await slow.aio.get(0.02)
            await slow.aio.wait()
            assert slow.ready()
            with pytest.raises(ValueError, match="not 3"):
                await pool.aio.map(pool_work.fails_for_three, range(5))
            pool.close()
            await pool.aio.join()

    run(main)


def test_an_imap_goes_on_after_an_error(run):
    async def main():
        async with ctx.Pool(2) as pool:
            results, found = aiter(pool.imap(pool_work.fails_for_three, range(6))), []
            while True:
                try:
                    found.append(await anext(results))
                except ValueError as error:
                    found.append(str(error))
                except StopAsyncIteration:
                    break
            pool.terminate()
            await pool.aio.join()
            return found

    assert run(main) == [0, 1, 2, "not 3", 4, 5]


def test_a_map_that_is_cancelled_drops_what_nobody_has_begun(run, tmp_path):
    async def main():
        with ctx.Pool(1) as pool:
            numbers = [(str(tmp_path / "ran"), number) for number in range(2000)]
            assert await cut_short(0.05, lambda: pool.aio.starmap(pool_work.mark, numbers, 1))
            assert await pool.aio.apply(pool_work.double, (1,)) == 2
            return len((tmp_path / "ran").read_text().splitlines())

    assert run(main) < 1500


def test_outside_of_a_loop():
    call = ctx.Event().aio.wait()
    with pytest.raises(RuntimeError, match="async"):
        call.send(None)
