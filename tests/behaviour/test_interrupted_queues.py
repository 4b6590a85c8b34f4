"""What a queue's call had taken is not lost when a later item cannot be opened or a signal handler raises; no slot is either."""

import asyncio
import contextlib
import gc
import pickle
import random
import signal
import time

import pytest

import polyproc

LONG = 70_000


class Interrupted(Exception):
    pass


class Bad:
    """What pickles, and cannot be opened."""

    def __reduce__(self):
        return int, ("x",)


class Storm:
    """Calls that a signal handler interrupts by an exception, at random."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds
        self.armed = []
        self.interruptions = 0

    def __enter__(self):
        # What is called back at collections is another's (hypothesis has one), and would swallow what is raised there.
        self.callbacks, gc.callbacks[:] = gc.callbacks[:], []
        self.before = signal.signal(signal.SIGALRM, self.handle)
        return self

    def __exit__(self, *_):
        self.armed.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)
        gc.callbacks[:] = self.callbacks

    def handle(self, *_):
        if self.armed:
            self.armed.clear()
            self.interruptions += 1
            raise Interrupted

    def call(self, act, most=5e-5):
        with contextlib.suppress(Interrupted):
            try:
                self.armed.append(1)
                signal.setitimer(signal.ITIMER_REAL, random.uniform(5e-6, most))
                act()
            finally:
                self.armed.clear()

    def is_over(self):
        return time.monotonic() > self.end


def large_items():
    return [
        b"b" * LONG,
        bytearray(LONG),
        ["s" * LONG],
        [pickle.PickleBuffer(bytearray(LONG))],
        [pickle.PickleBuffer(bytes(LONG)), "s" * LONG],
    ]


def drain(queue):
    while not queue.empty():
        queue.get(timeout=10)


@pytest.mark.skipif(not polyproc.native, reason="a pipe has no slots")
@pytest.mark.parametrize("kind", range(len(large_items())))
@pytest.mark.parametrize("call", ["put", "get"])
def test_handler_that_raises_in_a_call_with_a_large_item_leaves_no_slot_behind(kind, call):
    queue, item = polyproc.Queue(), large_items()[kind]
    with Storm(0.3) as storm:
        while not storm.is_over():
            if call == "put":
                storm.call(lambda: queue.put(item), 1e-4)
            else:
                queue.put(item)
                storm.call(queue.get, 1e-4)
            drain(queue)
    assert storm.interruptions > 10
    assert queue._slot_reserve(1) == 0


@pytest.mark.skipif(not polyproc.native, reason="a pipe has no slots")
def test_exception_that_is_kept_keeps_no_slot():
    queue = polyproc.Queue()
    kept = []
    for _ in range(3):
        try:
            queue.put([Bad(), "s" * LONG])
            queue.get(timeout=10)
        except ValueError as error:
            kept.append(error)
    with pytest.raises(polyproc.queues.Full):
        bounded = polyproc.Queue(1)
        bounded.put(1)
        bounded.put(b"b" * LONG, False)
    assert len(kept) == 3
    assert queue._slot_reserve(1) == 0
    assert bounded._slot_reserve(1) == 0


def test_what_get_many_had_taken_before_a_bad_item_is_got_next():
    queue = polyproc.Queue()
    fill(polyproc, queue, [1, 2, Bad, 4])
    with pytest.raises(ValueError, match="invalid literal"):
        queue.get_many(timeout=10)
    assert queue.qsize() == 3
    assert not queue.empty()
    assert queue.get(timeout=10) == 1
    assert queue.get_many(timeout=10) == [2, 4]
    with pytest.raises(polyproc.queues.Empty):
        queue.get(False)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # without the core a feeder thread runs
def test_what_was_taken_and_not_returned_is_not_the_childs(ctx):
    queue, results = ctx.Queue(), ctx.Queue()
    fill(ctx, queue, [1, Bad])
    with pytest.raises(ValueError, match="invalid literal"):
        queue.get_many(2, timeout=10)
    process = ctx.Process(target=look, args=(queue, results))
    process.start()
    assert results.get(timeout=20) == "nothing"
    process.join()
    assert queue.get(timeout=10) == 1


def fill(ctx, queue, items):
    """Let a process put the items: when it has ended all are there, also where a thread writes them."""
    process = ctx.Process(target=put_all, args=(queue, items))
    process.start()
    process.join()
    assert process.exitcode == 0


def put_all(queue, items):
    queue.put_many([Bad() if item is Bad else item for item in items])


def look(queue, results):
    try:
        results.put(queue.get(False))
    except polyproc.queues.Empty:
        results.put("nothing")


def test_coroutine_of_get_many_loses_nothing_either():
    async def collect(queue):
        found = []
        while len(found) < 3:
            try:
                found += await queue.aio.get_many(timeout=10)
            except ValueError:
                found.append("bad")
        return found

    queue = polyproc.Queue()
    queue.put_many([1, Bad(), 3])
    found = asyncio.run(collect(queue))
    found.remove("bad")
    assert found == [1, 3]


def test_subclass_that_overrides_get_is_heard_by_get_many():
    class Doubling(polyproc.queues.Queue):
        def get(self, block=True, timeout=None):
            return 2 * super().get(block, timeout)

    queue = Doubling(ctx=polyproc.get_context())
    queue.put_many([1, 2, 3])
    found = []
    while len(found) < 3:
        found += queue.get_many(timeout=10)
    assert found == [2, 4, 6]


@pytest.mark.skipif(not polyproc.native, reason="in Python code there is always a place where it is lost")
def test_handler_that_raises_in_get_many_loses_nothing():
    queue, found, count = polyproc.Queue(), [], 0
    with Storm(1) as storm:
        while not storm.is_over():
            for _ in range(20):
                queue.put((count,))
                count += 1
            storm.call(lambda: found.extend(queue.get_many(15)))
    while not queue.empty():
        found.extend(queue.get_many())
    assert storm.interruptions > 10
    assert found == [(number,) for number in range(count)]
