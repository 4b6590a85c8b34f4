"""Conditions, events and barriers, under each start method."""

import os
import signal
import threading

import pytest

import polyproc
from conftest import eventually
from support import sharing


def start(ctx, target, *args):
    process = ctx.Process(target=target, args=args)
    process.start()
    return process


def waiters(ctx, condition, number):
    ready, done = ctx.Semaphore(0), ctx.Semaphore(0)
    processes = [start(ctx, sharing.wait_for_notice, condition, ready, done) for _ in range(number)]
    for _ in processes:
        assert ready.acquire(timeout=30)
    with condition:  # the last one has let go of the lock: all wait
        return processes, done


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_condition_wakes_as_many_as_it_is_told(ctx, kind):
    condition = ctx.Condition(getattr(ctx, kind)())
    processes, done = waiters(ctx, condition, 4)
    with condition:
        condition.notify()
    assert done.acquire(timeout=30)
    assert not done.acquire(timeout=0.3)
    with condition:
        condition.notify(2)
    assert done.acquire(timeout=30)
    assert done.acquire(timeout=30)
    assert not done.acquire(timeout=0.3)
    with condition:
        condition.notify_all()
    assert done.acquire(timeout=30)
    for process in processes:
        process.join()


def test_condition_gives_the_lock_back_as_deep_as_it_was():
    condition = polyproc.Condition()
    with condition, condition:
        assert condition.wait(0.05) is False
        assert condition.wait_for(lambda: False, 0.05) is False
        assert condition.wait_for(lambda: 7) == 7
        thread = threading.Thread(target=lambda: found.append(condition.acquire(False)))
        found = []
        thread.start()
        thread.join()
        assert found == [False]
    for act in (condition.wait, condition.notify, condition.notify_all):
        with pytest.raises(AssertionError):
            act()


def test_killed_waiters_do_not_hang_who_wakes(ctx):
    condition = ctx.Condition()
    processes, done = waiters(ctx, condition, 3)
    for process in processes[:2]:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    with condition:
        condition.notify_all()
    assert done.acquire(timeout=30)
    processes[2].join()
    processes, done = waiters(ctx, condition, 1)
    with condition:
        condition.notify_all()
    assert done.acquire(timeout=30)
    processes[0].join()


def test_event_wakes_all_and_killed_waiters_do_not_matter(ctx):
    event, done = ctx.Event(), ctx.Semaphore(0)
    processes = [start(ctx, sharing.wait_for, event, done) for _ in range(3)]
    if not polyproc.native:  # where a killed owner's lock stays locked: it is to sleep by then, without the lock
        eventually(lambda: event._cond._sleeping_count.get_value() == 3)
        event.is_set()
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].join()
    assert not event.is_set()
    assert not event.wait(0.05)
    event.set()
    event.set()
    for _ in processes[1:]:
        assert done.acquire(timeout=30)
    assert event.wait(0)
    event.clear()
    assert not event.is_set()
    for process in processes:
        process.join()


def test_barrier_lets_all_go_at_once(ctx):
    barrier, done = ctx.Barrier(3), ctx.Semaphore(0)
    processes = [start(ctx, sharing.pass_barrier, barrier, done) for _ in range(2)]
    assert barrier.wait(30) in (0, 1, 2)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert (barrier.n_waiting, barrier.parties, barrier.broken) == (0, 3, False)


def test_barrier_runs_its_action_once_and_breaks_when_it_fails():
    ran = []
    barrier = polyproc.Barrier(2, lambda: ran.append(1))
    places = []
    threads = [threading.Thread(target=lambda: places.append(barrier.wait(30))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (ran, sorted(places)) == ([1], [0, 1])
    alone = polyproc.Barrier(1, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        alone.wait()
    assert alone.broken
    with pytest.raises(threading.BrokenBarrierError):
        alone.wait()
    alone.reset()
    assert not alone.broken


def test_barrier_breaks_when_one_waits_too_long():
    barrier = polyproc.Barrier(2)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.05)
    assert barrier.broken
    barrier.reset()
    thread = threading.Thread(target=lambda: barrier.wait(30))
    thread.start()
    barrier.wait(30)
    thread.join()
    with pytest.raises(ValueError, match="parties must be > 0"):
        polyproc.Barrier(0)
