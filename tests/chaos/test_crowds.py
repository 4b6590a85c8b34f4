"""Crowds at every primitive: nobody misses a wake-up, and never more are inside than may be."""

import random

import pytest

import polyproc

SOON = 60.0


def produce(condition, stored, times, seed):
    rng = random.Random(seed)
    for _ in range(times):
        with condition:
            while stored.value >= 5:
                condition.wait(None if rng.random() < 0.7 else rng.random() * 0.01)
            stored.value += 1
            if rng.random() < 0.5:
                condition.notify_all()
            else:
                condition.notify(2)


def consume(condition, stored, left, seed):
    rng = random.Random(seed)
    while True:
        with condition:
            while stored.value == 0:
                if left.value == 0:
                    condition.notify_all()
                    return
                condition.wait(None if rng.random() < 0.7 else rng.random() * 0.01)
            stored.value -= 1
            left.value -= 1
            condition.notify_all()


def visit(semaphore, inside, most, times):
    for _ in range(times):
        with semaphore:
            assert inside.add(1) <= most
            inside.add(-1)


def meet(barrier, times):
    for _ in range(times):
        barrier.wait()


def answer(ping, pong, times):
    for _ in range(times):
        assert ping.wait(SOON)
        ping.clear()
        pong.set()


def run(ctx, *calls):
    processes = [ctx.Process(target=target, args=args) for target, *args in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SOON)
    ended = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    assert ended == [0] * len(processes)


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_bounded_store_loses_no_wake_up(ctx, kind):
    condition, stored, left = ctx.Condition(getattr(ctx, kind)()), ctx.RawValue("i", 0), ctx.RawValue("i", 1200)
    producers = [(produce, condition, stored, 300, seed) for seed in range(4)]
    run(ctx, *producers, *[(consume, condition, stored, left, seed) for seed in range(4)])
    assert (stored.value, left.value) == (0, 0)


def test_semaphore_lets_in_as_many_as_it_has_tokens(ctx):
    semaphore, inside = ctx.Semaphore(3), ctx.Value("i", 0)
    run(ctx, *[(visit, semaphore, inside, 3, 500)] * 6)
    assert (semaphore.get_value(), inside.value) == (3, 0)


def test_barrier_keeps_a_crowd_together(ctx):
    barrier = ctx.Barrier(5)
    run(ctx, *[(meet, barrier, 100)] * 5)
    assert barrier.n_waiting == 0


def test_events_go_back_and_forth(ctx):
    ping, pong = ctx.Event(), ctx.Event()
    process = ctx.Process(target=answer, args=(ping, pong, 300))
    process.start()
    for _ in range(300):
        ping.set()
        assert pong.wait(SOON)
        pong.clear()
    process.join()
    assert process.exitcode == 0
    assert polyproc.active_children() == []
