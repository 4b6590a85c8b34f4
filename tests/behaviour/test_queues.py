"""Queue, JoinableQueue and SimpleQueue, under each start method and on each backend."""

import gc
import os
import signal
import threading
import time
import weakref

import pytest

import polyproc
from conftest import eventually
from polyproc import queues
from polyproc._base import native as _native
from polyproc.connection import wait
from polyproc.queues import Empty, Full, ShutDown
from support import carrying

# A portable queue has a thread once something was put.
pytestmark = pytest.mark.filterwarnings("ignore:.*(fork|threads).*")
only_native = pytest.mark.skipif(not _native.native, reason="the portable queue cannot")
KINDS = ("Queue", "JoinableQueue", "SimpleQueue")


def start(ctx, target, *args):
    process = ctx.Process(target=target, args=args)
    process.start()
    return process


def ended(*processes):
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_many_producers_and_consumers(ctx, kind):
    queue, results = getattr(ctx, kind)(), ctx.Queue()
    producers = [start(ctx, carrying.put_numbered, queue, who, 600, who * 300) for who in range(3)]
    consumers = [start(ctx, carrying.get_numbered, queue, results, 900) for _ in range(2)]
    assert [results.get(timeout=60) for _ in consumers] == ["in order", "in order"]
    ended(*producers, *consumers)
    assert queue.empty()


def test_order_and_number(ctx):
    queue = ctx.Queue()
    assert queue.empty() and not queue.full()
    for item in range(100):
        queue.put(item)
    eventually(lambda: queue.qsize() == 100)
    assert [queue.get(timeout=10) for _ in range(100)] == list(range(100))
    assert queue.qsize() == 0


@pytest.mark.parametrize(
    "item",
    [
        None,
        0,
        -(10**40),
        1.5,
        "häß \ud800",
        b"",
        b"\0" * 70_000,
        bytearray(5),
        bytearray(100_000),
        (),
        (1, ("a", [b"b", {"c": None}])),
        {1: {2: {3: {4: {5: {6: 7}}}}}},
        {"a"},
        list(range(50_000)),
        "x" * 300_000,
        range(7),
        ValueError("no"),
    ],
    ids=lambda item: type(item).__name__,
)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_item(item, kind):
    queue = getattr(polyproc, kind)()
    putting = threading.Thread(target=queue.put, args=(item,))  # a portable SimpleQueue blocks on a large one
    putting.start()
    found = queue.get()
    putting.join()
    assert type(found) is type(item)
    assert repr(found) == repr(item)
    queue.close()


def test_limit_on_the_number_of_items(ctx):
    queue = ctx.Queue(2)
    queue.put(1)
    queue.put(2, timeout=10)
    assert queue.full()
    for act in (lambda: queue.put(3, False), lambda: queue.put_nowait(3), lambda: queue.put(3, timeout=0.05)):
        with pytest.raises(Full):
            act()
    waiting = start(ctx, carrying.put_all, queue, [3, 4])
    assert [queue.get(timeout=30) for _ in range(4)] == [1, 2, 3, 4]
    ended(waiting)
    for act in (
        lambda: queue.get(False),
        queue.get_nowait,
        lambda: queue.get(timeout=0.05),
        lambda: queue.get(True, 0),
    ):
        with pytest.raises(Empty):
            act()


@only_native
@pytest.mark.parametrize("threads", [1, 4])
def test_limit_with_threads(threads):
    queue = polyproc.Queue(3)
    workers = [threading.Thread(target=carrying.put_numbered, args=(queue, who, 500)) for who in range(threads)]
    for worker in workers:
        worker.start()
    found = []
    while len(found) < 500 * threads:
        assert queue.qsize() <= 3
        found.append(queue.get(timeout=30)[:2])
    for worker in workers:
        worker.join()
    for who in range(threads):
        assert [number for one, number in found if one == who] == list(range(500))


def test_arguments_that_are_none():
    queue = polyproc.Queue()
    for act in (
        lambda: queue.put(),
        lambda: queue.put(1, True, None, 5),
        lambda: queue.put(1, wait=True),
        lambda: queue.get(True, None, 5),
        lambda: queue.get(obj=1),
        lambda: queue.get(True, timeout="soon"),
    ):
        with pytest.raises(TypeError):
            act()
    assert queue.empty()
    queue.close()


def test_closed_in_this_process_only(ctx):
    queue, results = ctx.Queue(), ctx.Queue()
    queue.put(1)
    reader = start(ctx, carrying.get_one, queue, results)
    queue.close()
    queue.join_thread()
    for act in (lambda: queue.put(2), queue.get, queue.get_nowait):
        with pytest.raises(ValueError, match="is closed"):
            act()
    assert results.get(timeout=30) == 1
    ended(reader)


class Broken:
    def __reduce__(self):
        return fail, ()


def fail():
    raise RuntimeError("cannot be made")


def test_what_cannot_be_pickled_is_raised_by_put():
    queue = polyproc.Queue(1)
    with pytest.raises(TypeError, match="pickle") as caught:
        queue.put({"key": [1, threading.Lock()]})
    assert "[key][1]" in "".join(caught.value.__notes__).replace("'", "")
    queue.put("the place is free")
    assert queue.get(timeout=10) == "the place is free"
    queue.close()


def test_what_cannot_be_unpickled_costs_that_item_only():
    queue = polyproc.Queue(3)
    queue.put(1)
    queue.put(Broken())
    queue.put(3)
    assert queue.get(timeout=10) == 1
    with pytest.raises(RuntimeError, match="cannot be made"):
        queue.get(timeout=10)
    assert queue.get(timeout=10) == 3
    queue.put_many([4, 5, 6])
    queue.close()


def test_an_overridden_hook_is_told_instead():
    class ThreadResult(queues.Queue):
        @staticmethod
        def _on_queue_feeder_error(error, obj):
            told.append((type(error), obj))

    told = []
    queue = ThreadResult(ctx=polyproc.get_context())
    lock = threading.Lock()
    queue.put(lock)
    assert told == [(TypeError, lock)]
    queue.put(1)
    assert queue.get(timeout=10) == 1
    queue.close()


def test_a_subclass_with_state_of_its_own(ctx):
    queue, results = Counted(ctx), ctx.Queue()
    queue.put("a")
    ended(start(ctx, carrying.get_one, queue, results))
    assert results.get(timeout=30) == "a"
    assert queue.size.value == 0


class Counted(queues.Queue):
    """As programs write it for systems without qsize."""

    def __init__(self, ctx):
        super().__init__(ctx=ctx)
        self.size = ctx.Value("i", 0)

    def __getstate__(self):
        return {"parent": super().__getstate__(), "size": self.size}

    def __setstate__(self, state):
        super().__setstate__(state["parent"])
        self.size = state["size"]

    def put(self, *args, **kwargs):
        super().put(*args, **kwargs)
        with self.size.get_lock():
            self.size.value += 1

    def get(self, *args, **kwargs):
        item = super().get(*args, **kwargs)
        with self.size.get_lock():
            self.size.value -= 1
        return item


def test_a_change_after_put_does_not_show():
    queue = polyproc.Queue()
    for _ in range(100):
        item = [0]
        queue.put(item)
        item[0] = 1
    assert all(queue.get(timeout=10) == [0] for _ in range(100))
    queue.close()


@only_native
def test_a_producer_ends_though_nobody_reads(ctx):
    queue = ctx.Queue()
    ended(start(ctx, carrying.put_numbered, queue, 0, 3000, 20_000))  # 60 MB
    for number in range(3000):
        assert queue.get(timeout=10) == (0, number, b"x" * 20_000)
    assert queue.empty()


@pytest.mark.parametrize("end", ["close", "cancel_join_thread", None])
def test_items_left_in_a_queue_that_nobody_has_any_more_are_no_complaint(end, capfd):
    queue = polyproc.Queue()
    for item in range(100):
        queue.put(b"x" * 2000 * item)
    feeder = weakref.ref(queue._thread) if getattr(queue, "_thread", None) else lambda: None
    if end is not None:
        getattr(queue, end)()
        queue.close()
    del queue
    gc.collect()
    eventually(lambda: not (thread := feeder()) or not thread.is_alive())
    assert capfd.readouterr().err == ""


@only_native
def test_what_a_killed_producer_had_put_is_there(ctx):
    queue, told = ctx.Queue(), ctx.Event()
    producer = start(ctx, carrying.put_then_sleep, queue, ["precious", b"x" * 200_000], told)
    assert told.wait(30)
    producer.kill()
    producer.join()
    assert queue.get(timeout=10) == ["precious", b"x" * 200_000]


@only_native
def test_a_consumer_that_is_killed_as_it_waits_hinders_nobody(ctx):
    queue, results = ctx.Queue(), ctx.Queue()
    waiting = start(ctx, carrying.get_one, queue, results)
    time.sleep(0.2)
    waiting.kill()
    waiting.join()
    queue.put("next")
    assert queue.get(timeout=30) == "next"


@only_native
def test_join_does_not_wait_for_the_dead(ctx):
    queue, told = ctx.JoinableQueue(), ctx.Event()
    queue.put_many(["a", "b"])
    taker = start(ctx, carrying.get_and_sleep, queue, told)
    assert told.wait(30)
    worker = start(ctx, carrying.work, queue, 1)
    ended(worker)
    threading.Timer(0.2, taker.kill).start()
    queue.join()
    assert not taker.is_alive() or taker.join() is None
    taker.join()


def test_join_waits_until_all_is_done(ctx):
    queue = ctx.JoinableQueue()
    queue.put_many(range(40))
    workers = [start(ctx, carrying.work, queue, 20) for _ in range(2)]
    queue.join()
    assert queue.empty()
    ended(*workers)
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


@only_native
def test_another_process_than_the_taker_says_done():
    ctx = polyproc.get_context("fork")
    queue, told = ctx.JoinableQueue(), ctx.Event()
    queue.put(1)
    taker = start(ctx, carrying.get_and_sleep, queue, told)
    assert told.wait(30)
    queue.task_done()
    queue.put(2)
    taker.kill()
    taker.join()
    assert queue._unfinished() == 1  # the dead one owes nothing
    assert queue.get() == 2
    queue.task_done()
    queue.join()
    queue.close()


def test_shutdown_wakes_who_waits(ctx):
    full, empty, results = ctx.Queue(1), ctx.Queue(), ctx.Queue()
    full.put(0)
    waiting = [start(ctx, carrying.put_reports, full, results), start(ctx, carrying.get_reports, empty, results)]
    time.sleep(0.2)
    full.shutdown()
    empty.shutdown()
    assert [results.get(timeout=30) for _ in waiting] == ["ShutDown", "ShutDown"]
    ended(*waiting)
    with pytest.raises(ShutDown):
        full.put(1)
    assert full.get(timeout=10) == 0
    for queue in (full, empty):
        with pytest.raises(ShutDown):
            queue.get(timeout=10)
        queue.shutdown()


def test_iteration_ends_with_the_queue(ctx):
    queue, results = ctx.Queue(), ctx.Queue()
    reader = start(ctx, carrying.get_until_end, queue, results)
    queue.put_many(range(10))
    queue.shutdown()
    assert results.get(timeout=30) == list(range(10))
    ended(reader)


def test_immediate_shutdown_throws_away(ctx):
    queue = ctx.JoinableQueue()
    queue.put_many([1, b"x" * 100_000, 3])
    queue.shutdown(immediate=True)
    with pytest.raises(ShutDown):
        queue.get(timeout=10)
    queue.join()


def test_many_at_once():
    queue = polyproc.Queue(5)
    queue.put_many(range(5))
    with pytest.raises(Full):
        queue.put_many([5, 6], timeout=0.05)
    eventually(queue._reader.poll)
    found = queue.get_many(2, timeout=10)
    assert found == [0, 1]
    while len(found) < 5:
        found += queue.get_many(timeout=10)
    assert found == [0, 1, 2, 3, 4]
    with pytest.raises(Empty):
        queue.get_many(block=False)
    with pytest.raises(ValueError, match="positive"):
        queue.get_many(0)
    queue.close()


@only_native
def test_wait_for_several_queues(ctx):
    first, second = ctx.Queue(), ctx.SimpleQueue()
    assert wait([first, second], 0.05) == []
    producer = start(ctx, carrying.put_all, second, ["x"])
    assert wait([first, second], 30) == [second]
    assert second.get() == "x"
    assert wait([first, second, producer.sentinel], 30) in ([producer.sentinel], [second, producer.sentinel])
    first.put(1)
    assert first in wait([first, second], 30)
    assert wait([first._reader], 30)[0].recv() == 1
    with pytest.raises(Empty):
        second.get(timeout=0.01)
    with pytest.raises(Empty):
        first.get(timeout=0.01)
    assert wait([first, second], 0) == []
    first.shutdown()
    assert wait([first, second], 30) == [first]
    ended(producer)


@only_native
def test_wait_misses_nothing():
    ctx = polyproc.get_context("fork")
    queue = ctx.Queue()
    producers = [start(ctx, carrying.put_numbered, queue, who, 2000) for who in range(2)]
    for _ in range(4000):
        while True:
            assert wait([queue], 30) == [queue]
            try:
                queue.get(False)
                break
            except Empty:
                pass
    ended(*producers)
    assert wait([queue], 0) == [] or queue.empty()
    queue.close()


@only_native
def test_a_queue_goes_through_a_connection_and_a_queue(ctx):
    here, there = ctx.Pipe()
    receiver = start(ctx, carrying.use_sent_queue, there)
    queue, carrier = ctx.Queue(), ctx.Queue()
    carrier.put({"queue": queue})
    here.send(carrier.get()["queue"])
    assert queue.get(timeout=30) == receiver.pid
    here.send(None)
    ended(receiver)
    here.close()
    there.close()


@only_native
def test_an_idle_queue_costs_little():
    def memory():
        with open("/proc/self/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Rss"))

    polyproc.Queue().close()
    fds, before = len(os.listdir("/proc/self/fd")), memory()
    made = [polyproc.Queue() for _ in range(50)]
    assert len(os.listdir("/proc/self/fd")) - fds <= 4 * 50
    assert (memory() - before) / 50 < 64
    for queue in made:
        queue.close()


@only_native
def test_memory_comes_back():
    queue = polyproc.Queue()
    fd = queue._where()[0] and polyproc._core.hold(queue._where()[0])[0]

    def kibibytes():
        return os.fstat(fd).st_blocks / 2

    for number in range(40):
        queue.put(bytes([number]) * 150_000)
    for _ in range(20_000):
        queue.put("x" * 1000)
    assert kibibytes() > 20_000
    for _ in range(20_040):
        queue.get()
    assert kibibytes() < 4000
    for _ in range(100_000):
        queue.put(1)
        queue.get()
    assert kibibytes() < 4000
    polyproc._core.detach(queue._where()[0])
    queue.close()


def test_a_signal_is_handled_during_get():
    def handler(number, frame):
        raise KeyboardInterrupt

    queue = polyproc.Queue()
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            queue.get(timeout=30)
    finally:
        signal.signal(signal.SIGALRM, before)
    queue.put(1)
    assert queue.get(timeout=10) == 1
    queue.close()


@only_native
def test_a_handle_that_was_not_initialized():
    class Forgetful(queues.Queue):
        def __init__(self):
            pass

    queue = Forgetful()
    with pytest.raises(RuntimeError, match="__init__"):
        queue.put(1)
    with pytest.raises(RuntimeError, match="__init__"):
        queue.get()
    assert queue.qsize() == 0
