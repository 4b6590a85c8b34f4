"""SIGKILL at every crash point of a queue (csrc/core/pp_queue.h, pp_slot.h), and at random: nothing hangs, nothing is
torn or comes twice, and nothing is lost but what a killed process had taken."""

import os
import random
import signal
import struct
import time

import pytest

import polyproc
from support import carrying
from support.crashes import SOON, ctx, die_at, ended, helper, is_asleep, killed, pytestmark  # noqa: F401
from support.queue_contents import LARGE, drained, fill_segment, segments_in_use


@pytest.mark.parametrize("item", ["small", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("point", ["lock.acquired", "queue.written", "slot.taken", "slot.filled", "slot.sent"])
def test_a_producer_dies_before_its_item_counts(point, item):
    if point.startswith("slot") and item is not LARGE:
        pytest.skip("a small item has no slot")
    queue = ctx.Queue()
    queue.put("before")
    killed(die_at(point, queue.put, item))
    assert queue.qsize() == 1
    ended(helper(queue.put, "after"))
    queue.put(LARGE)
    assert drained(queue) == ["before", "after", LARGE]
    assert queue._slot_memory() < 3 * len(LARGE)


@pytest.mark.parametrize("point", ["queue.committed", "queue.unlocked"])
@pytest.mark.parametrize("item", ["small", LARGE], ids=["small", "large"])
def test_a_producer_dies_when_its_item_counts(point, item):
    queue = ctx.Queue()
    waiting = helper(queue.get)
    is_asleep(waiting)
    killed(die_at(point, queue.put, item))
    ended(waiting)
    killed(die_at(point, queue.put, item))
    queue.put("after")
    assert drained(queue) == [item, "after"]


@pytest.mark.parametrize("point", ["lock.acquired", "queue.peeked", "slot.received"])
def test_a_consumer_dies_before_the_item_is_its_own(point):
    queue = ctx.Queue()
    queue.put(LARGE)
    queue.put(2)
    killed(die_at(point, queue.get))
    assert queue.qsize() == 2
    results = ctx.Queue()
    ended(helper(carrying.get_one, queue, results))
    assert results.get(timeout=SOON) == LARGE
    assert queue.get(timeout=SOON) == 2


@pytest.mark.parametrize("point", ["queue.taken", "queue.freed"])
def test_a_consumer_dies_when_the_item_is_its_own(point):
    queue = ctx.Queue(2)
    queue.put(LARGE)
    queue.put(2)
    waiting = helper(queue.put, 3)
    is_asleep(waiting)
    killed(die_at(point, queue.get))
    ended(waiting)
    assert drained(queue) == [2, 3]
    for _ in range(50):  # the slot of the dead is found again
        queue.put(LARGE)
        queue.get()
    assert queue._slot_memory() <= 2 * 204_800


def test_a_joinable_queues_consumer_dies_as_it_is_counted():
    queue = ctx.JoinableQueue()
    queue.put(1)
    killed(die_at("queue.counted", queue.get))
    assert queue._unfinished() == 1  # it had not taken it
    assert queue.get(timeout=SOON) == 1
    queue.task_done()
    queue.join()
    queue.put(2)
    killed(die_at("queue.taken", queue.get))
    assert queue._unfinished() == 0  # it had
    queue.join()


def test_a_worker_dies_as_it_says_that_all_is_done():
    queue = ctx.JoinableQueue()
    queue.put(1)
    waiting = helper(queue.join)
    is_asleep(waiting)
    killed(die_at("queue.done", carrying.work, queue, 1))
    ended(waiting)


def test_a_woken_consumer_dies_before_it_takes():
    queue = ctx.Queue()
    doomed = die_at("queue.woken", queue.get)
    is_asleep(doomed)
    other = helper(queue.get)
    is_asleep(other)
    queue.put(1)
    ended(other)
    queue.put(2)
    killed(doomed)
    assert drained(queue) == [2]


@pytest.mark.parametrize("point", ["queue.marked", "queue.chained"])
def test_a_producer_dies_between_two_segments(point):
    queue = ctx.Queue()
    fill_segment(queue)
    killed(die_at(point, queue.put, b"g" * 60_000))
    assert segments_in_use(queue) == 2
    for _ in range(8):
        queue.put(b"h" * 60_000)
    assert [item[:1] for item in drained(queue)] == [b"f"] * 4 + [b"h"] * 8
    assert segments_in_use(queue) == 1


def test_a_consumer_dies_between_two_segments():
    queue = ctx.Queue()
    fill_segment(queue)
    queue.put(b"g" * 60_000)
    for _ in range(4):
        queue.get()
    killed(die_at("queue.left", queue.get))
    assert queue.get(timeout=SOON)[:1] == b"g"
    for _ in range(8):  # on to another segment: what was left behind is found
        queue.put(b"h" * 60_000)
    assert [item[:1] for item in drained(queue)] == [b"h"] * 8
    assert segments_in_use(queue) == 1


def test_a_polled_queues_producer_dies_after_its_token():
    from polyproc.connection import wait

    queue = ctx.Queue()
    assert wait([queue], 0) == []
    killed(die_at("queue.signalled", queue.put, 1))
    assert wait([queue], SOON) == [queue]  # there is nothing, which is said when it is asked for
    with pytest.raises(polyproc.queues.Empty):
        queue.get(False)
    assert wait([queue], 0) == []
    queue.put(2)
    assert wait([queue], SOON) == [queue]
    assert queue.get(False) == 2


class Crowd:
    """Producers and consumers of one queue, of which one after the other is killed and replaced."""

    def __init__(self, queue, log, seed, producers=3, consumers=3):
        self.queue, self.log, self.chance = queue, log, random.Random(seed)
        self.producers, self.consumers = producers, consumers
        self.started, self.finished = ctx.RawArray("q", producers), ctx.RawArray("q", producers)
        self.epochs = [0] * producers
        self.put = {}  # (producer, epoch): numbers that surely were put, and one that may have been
        self.lost = 0  # what killed consumers may have taken with them
        self.members = [self.start(place) for place in range(producers + consumers)]

    def start(self, place):
        if place < self.producers:
            self.started[place] = self.finished[place] = -1
            args = (place, self.epochs[place], self.started, self.finished, self.chance.random())
            process = ctx.Process(target=carrying.produce, args=(self.queue, *args))
        else:
            process = ctx.Process(target=carrying.consume, args=(self.queue, self.log))
        process.start()
        return process

    def kill(self, place):
        process = self.members[place]
        process.kill()
        process.join(SOON)
        assert process.exitcode == -signal.SIGKILL, "a member had died of something else"
        if place < self.producers:
            self.put[place, self.epochs[place]] = (self.finished[place], self.started[place])
            self.epochs[place] += 1
        else:
            self.lost += 1

    def turn(self):
        place = self.chance.randrange(len(self.members))
        self.kill(place)
        self.members[place] = self.start(place)
        if self.queue.qsize() > 2000:  # the killed consume less than they should
            time.sleep(0.05)

    def finish(self):
        for place in range(self.producers):
            self.kill(place)
        deadline = time.monotonic() + 60
        while not self.queue.empty():
            assert time.monotonic() < deadline, "the consumers are stuck"
            time.sleep(0.01)
        time.sleep(0.3)
        for place in range(self.producers, len(self.members)):
            self.kill(place)


def check(crowd):
    seen = {}
    data = crowd.log.read_bytes()
    for who, epoch, number, ok in struct.iter_unpack("<IIII", data):
        assert ok, "an item was torn"
        numbers = seen.setdefault((who, epoch), set())
        assert number not in numbers, "an item came twice"
        numbers.add(number)
    missing = 0
    for key, (finished, started) in crowd.put.items():
        numbers = seen.pop(key, set())
        assert max(numbers, default=-1) <= started
        missing += finished + 1 - len(numbers & set(range(finished + 1)))
    assert not seen
    assert missing <= crowd.lost, f"{missing} items were lost, {crowd.lost} consumers killed"
    return len(data) // 16


@pytest.mark.chaos
@pytest.mark.parametrize("maxsize", [0, 5])
def test_random_kills(maxsize, tmp_path):
    seed = int(os.environ.get("POLYPROC_SEED", "0")) or random.randrange(2**32)
    seconds = float(os.environ.get("POLYPROC_CHAOS_SECONDS", "4"))
    print("POLYPROC_SEED =", seed)
    log = tmp_path / "log"
    log.touch()
    queue = ctx.Queue(maxsize)
    crowd = Crowd(queue, log, seed)
    kills, end = 0, time.monotonic() + seconds
    while time.monotonic() < end and kills < int(os.environ.get("POLYPROC_KILLS", "1000000")):
        crowd.turn()
        kills += 1
    crowd.finish()
    received = check(crowd)
    print(f"{kills} kills, {received} items, at most {crowd.lost} lost")
    assert received > 0
    queue.put("usable")
    assert queue.get(timeout=SOON) == "usable"
