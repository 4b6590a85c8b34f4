"""SIGKILL between the stores of one step of a queue (csrc/core/pp_queue.h): each step counts as done, or as not begun."""

import os
import random
import threading
import time

import pytest

import polyproc
from polyproc.connection import wait
from support.crashes import SOON, ctx, die_at, ended, helper, is_asleep, killed, pytestmark  # noqa: F401
from support.queue_contents import LARGE, drained, fill_segment, segments_in_use


def wait_for(queue):
    assert wait([queue], SOON) == [queue]


def wait_until_ended(queue):
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        wait_for(queue)
        try:
            queue.get(False)
        except polyproc.queues.ShutDown:
            return
        except polyproc.queues.Empty:
            pass  # the token of one that died before it had ended the queue
    raise AssertionError("nobody told of the end")


def task_done(queue):
    queue.get(timeout=SOON)
    queue.task_done()


def returns(act):
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(SOON)
    return not thread.is_alive()


@pytest.mark.parametrize("point", ["queue.told", "queue.polled"])
def test_items_are_told_of_though_the_first_who_waited_died(point):
    queue = ctx.Queue()
    queue.put(1)
    killed(die_at(point, wait, [queue], 1))
    wait_for(queue)
    assert queue.get(timeout=SOON) == 1
    with pytest.raises(polyproc.queues.Empty):
        queue.get(False)
    with pytest.raises(polyproc.queues.Empty):
        queue.get(False)
    assert wait([queue], 0) == []
    queue.put(2)
    wait_for(queue)


@pytest.mark.parametrize("point", ["queue.told", "queue.ended"])
def test_the_end_is_told_of_though_who_ended_it_died(point):
    queue = ctx.Queue()
    assert wait([queue], 0) == []
    waiting = helper(wait_until_ended, queue)
    killed(die_at(point, queue.shutdown))
    if point == "queue.told":  # it had only begun
        queue.put("still possible")
        queue.shutdown()
    ended(waiting)
    wait_for(queue)
    with pytest.raises(polyproc.queues.ShutDown):
        queue.get(False)


def take_and_die(queue):
    queue.get(timeout=SOON)
    os.kill(os.getpid(), 9)


def test_join_returns_after_any_number_of_killed_consumers():
    queue = ctx.JoinableQueue()
    for number in range(80):
        queue.put(number)
        killed(helper(take_and_die, queue))
    assert queue._unfinished() == 0
    assert returns(queue.join)
    queue.put("another")
    assert queue._unfinished() == 1


def hold_one(queue, told, go_on):
    queue.get(timeout=SOON)
    told.put(1)
    go_on.wait(SOON)
    queue.get(timeout=SOON)


def test_join_waits_for_each_of_many_living_consumers():
    queue, told, go_on = ctx.JoinableQueue(), ctx.Queue(), ctx.Event()
    consumers = [helper(hold_one, queue, told, go_on) for _ in range(70)]
    for number in range(70):
        queue.put(number)
    for _ in range(70):
        told.get(timeout=SOON)
    assert queue._unfinished() == 70
    for number in range(70):
        queue.task_done()
        assert queue._unfinished() == 69 - number
    assert returns(queue.join)
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()
    for number in range(70):
        queue.put(number)
    go_on.set()
    for consumer in consumers:
        ended(consumer)
    assert returns(queue.join)  # they have ended


def test_join_does_not_end_early_when_a_consumer_dies_before_the_item_is_its_own():
    queue = ctx.JoinableQueue()
    queue.put(1)
    killed(die_at("queue.counted", queue.get))
    assert queue._unfinished() == 1
    assert queue.get(timeout=SOON) == 1
    assert queue._unfinished() == 1
    queue.task_done()
    assert returns(queue.join)


def test_join_does_not_end_early_when_a_consumer_dies_saying_that_one_is_done():
    queue = ctx.JoinableQueue()
    queue.put(1)
    queue.put(2)
    killed(die_at("queue.done", task_done, queue))
    assert queue._unfinished() == 1
    task_done(queue)
    assert returns(queue.join)


def test_task_done_before_anybody_has_taken_the_item_counts_once_whoever_dies():
    queue = ctx.JoinableQueue()
    for number in range(3):
        queue.put(number)
    killed(die_at("queue.forestalled", queue.task_done))
    assert queue._unfinished() == 2
    killed(helper(take_and_die, queue))  # the one that is done
    assert queue._unfinished() == 2
    task_done(queue)
    queue.task_done()
    assert queue._unfinished() == 0
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()
    assert queue.get(timeout=SOON) == 2
    assert returns(queue.join)


def test_waiting_join_hears_of_the_last_task_done_of_another_process():
    queue = ctx.JoinableQueue()
    queue.put(1)
    waiting = helper(queue.join)
    is_asleep(waiting)
    ended(helper(task_done, queue))
    ended(waiting)


def test_a_consumer_dies_as_it_frees_a_segment():
    queue = ctx.Queue()
    fill_segment(queue)
    queue.put(b"g" * 60_000)
    for _ in range(4):
        queue.get()
    killed(die_at("queue.emptied", queue.get))
    assert segments_in_use(queue) == 1
    for _ in range(8):
        queue.put(b"h" * 60_000)
    assert [item[:1] for item in drained(queue)] == [b"g"] + [b"h"] * 8
    assert segments_in_use(queue) == 1


def fill_another(queue):
    for _ in range(4):
        queue.put(b"h" * 60_000)


def test_a_producer_dies_as_it_sweeps():
    queue = ctx.Queue()
    fill_segment(queue)
    killed(die_at("queue.chained", queue.put, b"g" * 60_000))
    killed(die_at("queue.swept", fill_another, queue))
    fill_another(queue)
    assert {item[:1] for item in drained(queue)} == {b"f", b"h"}
    assert segments_in_use(queue) == 1


@pytest.mark.parametrize("bound", [0, 1])
def test_who_dies_as_it_lowers_the_flag_of_those_asleep_leaves_nobody_asleep(bound):
    queue = ctx.Queue(bound)
    waiting = helper(queue.get)
    is_asleep(waiting)
    killed(die_at("queue.lowered", queue.put, 1))
    ended(waiting)


def test_a_slots_giver_dies():
    queue = ctx.Queue()
    queue.put(LARGE)
    killed(die_at("slot.given", queue.get))
    for _ in range(10):
        queue.put(LARGE)
        assert queue.get(timeout=SOON) == LARGE
    assert queue._slot_memory() <= 2 * 204_800


def work(queue, seed):
    chance = random.Random(seed)
    while True:
        item = queue.get()
        if chance.random() < 0.3:
            queue.put(item - 1 if item else 0)
        if chance.random() < 0.2:
            time.sleep(chance.random() * 0.002)
        queue.task_done()


@pytest.mark.chaos
def test_join_of_a_queue_whose_consumers_are_killed_at_random_ends_when_all_is_done(chance):
    queue = ctx.JoinableQueue()
    workers = [helper(work, queue, chance.random()) for _ in range(4)]
    for _ in range(int(os.environ.get("POLYPROC_KILLS", "60"))):
        for _ in range(chance.randrange(20)):
            queue.put(5)
        place = chance.randrange(len(workers))
        workers[place].kill()
        workers[place].join(SOON)
        workers[place] = helper(work, queue, chance.random())
    assert returns(queue.join)
    assert queue.qsize() == 0
    time.sleep(0.05)
    assert queue._unfinished() == 0
    for worker in workers:
        worker.kill()
        worker.join(SOON)


def take_all(queue, counts, place):
    while queue.get() is not None:
        counts[place] += 1


def test_who_is_fast_does_not_take_all_while_others_wait():
    queue, counts = ctx.Queue(), ctx.RawArray("q", 3)
    others = [helper(take_all, queue, counts, place) for place in range(3)]
    for other in others:
        is_asleep(other)
    deadline, number = time.monotonic() + SOON, 0
    while not all(counts):
        assert time.monotonic() < deadline, f"of {number} items the others got {list(counts)}"
        queue.put(number)
        try:
            queue.get(timeout=0.002)
        except polyproc.queues.Empty:  # another has it
            pass
        number += 1
    for _ in others:
        queue.put(None)
    for other in others:
        ended(other)


def put_and_get(queue):
    while True:
        queue.put(1)
        try:
            queue.get(timeout=0.01)
        except polyproc.queues.Empty:  # another has it
            pass


def test_who_dies_as_it_hands_an_item_over_keeps_nobody_waiting():
    queue, counts = ctx.Queue(), ctx.RawArray("q", 1)
    other = helper(take_all, queue, counts, 0)
    is_asleep(other)
    killed(die_at("queue.handed", put_and_get, queue))
    queue.put(None)
    ended(other)
    queue.put("usable")
    assert "usable" in drained(queue)
