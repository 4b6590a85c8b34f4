"""Barrier, where one comes while others leave, gives up, or is interrupted."""

import os
import random
import signal
import threading
import time

import pytest

import polyproc
from support import sharing

BROKEN = threading.BrokenBarrierError


class Interrupted(Exception):
    pass


def crowd(barrier, timeouts):
    """Come in threads, one for each timeout; return an empty list that gets 'ok' or 'broken' of each, and the threads."""
    found = []

    def come(timeout):
        try:
            barrier.wait(timeout)
            found.append("ok")
        except BROKEN:
            found.append("broken")

    threads = [threading.Thread(target=come, args=(timeout,), daemon=True) for timeout in timeouts]
    for thread in threads:
        thread.start()
    return found, threads


def finish(threads):
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "it hangs"


def test_late_comers_time_limit_breaks_its_own_generation_and_not_the_one_that_is_leaving():
    in_action, go_on = threading.Event(), threading.Event()

    def action():
        in_action.set()
        go_on.wait(20)

    barrier = polyproc.Barrier(2, action)
    found, threads = crowd(barrier, [None, None])
    assert in_action.wait(20)
    late, late_threads = crowd(barrier, [0.05])
    if polyproc.native:  # it has a limit there even while the action takes long
        finish(late_threads)
        assert late == ["broken"]
        assert not found
    go_on.set()
    finish(threads + late_threads)
    assert found == ["ok", "ok"]
    assert late == ["broken"]
    assert barrier.broken  # whoever comes now would wait for one who has gone


def test_late_comers_of_other_processes_form_the_next_generation(ctx):
    barrier, rounds = ctx.Barrier(2), ctx.Value("i", 0)
    processes = [ctx.Process(target=sharing.come_until_broken, args=(barrier, rounds)) for _ in range(4)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + 30
    while rounds.value < 400:
        assert time.monotonic() < deadline, "they are stuck"
        time.sleep(0.001)
    barrier.abort()
    for process in processes:
        process.join(20)
        assert process.exitcode == 0


def test_reset_while_one_comes_late_begins_anew():
    in_action, go_on = threading.Event(), threading.Event()
    barrier = polyproc.Barrier(2, lambda: (in_action.set(), go_on.wait(20)))
    found, threads = crowd(barrier, [None, None])
    assert in_action.wait(20)
    if polyproc.native:  # without the core the lock is held during the action, as in the standard library
        barrier.reset()
    go_on.set()
    finish(threads)
    assert found == (["broken", "broken"] if polyproc.native else ["ok", "ok"])
    barrier.reset()
    found, threads = crowd(barrier, [20, 20])
    finish(threads)
    assert found == ["ok", "ok"]


@pytest.mark.skipif(not polyproc.native, reason="in Python code there is always a place where nobody catches it")
def test_handler_that_raises_leaves_nobody_waiting():
    barrier = polyproc.Barrier(2)
    ended, rounds = threading.Event(), []

    def other():
        while not ended.is_set():
            try:
                barrier.wait()
                rounds.append(1)
            except BROKEN:
                barrier.reset()

    armed = []

    def raise_once(*_):
        if armed:
            armed.clear()
            raise Interrupted

    def interrupted():
        try:
            armed.append(1)
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-4))
            barrier.wait(20)
        finally:
            armed.clear()

    thread = threading.Thread(target=other, daemon=True)
    before = signal.signal(signal.SIGALRM, raise_once)
    try:
        thread.start()
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            try:
                interrupted()
            except (Interrupted, BROKEN):
                pass
    finally:
        armed.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    ended.set()
    while thread.is_alive():
        barrier.abort()
        thread.join(0.01)
    assert len(rounds) > 10


@pytest.mark.skipif(
    not polyproc.native, reason="the standard library's lets some go of a generation that is broken late"
)
def test_random_limits_and_resets_leave_nobody_waiting_and_no_generation_half_let_go():
    seed = int(os.environ.get("POLYPROC_SEED", "0")) or random.randrange(2**32)
    print("POLYPROC_SEED =", seed)
    chance = random.Random(seed)
    for _ in range(30):
        parties = chance.randrange(2, 4)
        barrier = polyproc.Barrier(parties)
        limits = [chance.choice([20, 20, 20, 0.001, 0.003]) for _ in range(parties * 3)]
        found, threads = crowd(barrier, limits)
        for _ in range(chance.randrange(3)):
            time.sleep(chance.uniform(0, 0.003))
            chance.choice([barrier.reset, barrier.abort, lambda: None])()
        deadline = time.monotonic() + 1
        while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
            time.sleep(0.001)
        while any(thread.is_alive() for thread in threads):  # those that a reset has left too few
            barrier.abort()
            time.sleep(0.001)
        finish(threads)
        assert found.count("ok") % parties == 0, f"seed {seed}: {found}"
