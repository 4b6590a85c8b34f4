"""SIGKILL at every step of a barrier (csrc/core/pp_barrier.h): who waits is let go, or told that it is broken."""

import threading

import pytest

from support.crashes import SOON, ctx, die_at, ended, helper, is_asleep, killed, pytestmark  # noqa: F401


def come(barrier):
    barrier.wait(SOON)


def come_in_vain(barrier):
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(SOON)


def waiting(barrier, act=come):
    processes = [helper(act, barrier) for _ in range(barrier.parties - 1)]
    for process in processes:
        is_asleep(process)
    return processes


@pytest.mark.parametrize(
    "point, act",
    [
        ("barrier.arrived", come_in_vain),
        ("barrier.noted", come_in_vain),
        ("barrier.opened", come),
        ("barrier.unguarded", come),
    ],
)
def test_the_last_to_come_dies(point, act):
    barrier = ctx.Barrier(3)
    others = waiting(barrier, act)
    killed(die_at(point, barrier.wait))
    for other in others:
        ended(other)
    assert barrier.broken == (act is come_in_vain)
    assert barrier.n_waiting == 0
    barrier.reset()
    others = waiting(barrier)
    barrier.wait(SOON)
    for other in others:
        ended(other)


@pytest.mark.parametrize(
    "call, point",
    [
        ("abort", "barrier.broken"),
        ("reset", "barrier.opened"),
        ("abort", "barrier.unguarded"),
        ("reset", "barrier.unguarded"),
    ],
)
def test_who_breaks_it_dies_before_it_wakes_anybody(call, point):
    barrier = ctx.Barrier(3)
    others = waiting(barrier, come_in_vain)
    killed(die_at(point, getattr(barrier, call)))
    for other in others:
        ended(other)


def test_who_waits_too_long_dies_as_it_breaks_it():
    barrier = ctx.Barrier(3)
    other = helper(come_in_vain, barrier)
    is_asleep(other)
    killed(die_at("barrier.broken", barrier.wait, 0.01))
    ended(other)


def test_reset_that_dies_before_it_counts_changes_nothing():
    barrier = ctx.Barrier(3)
    others = waiting(barrier)
    killed(die_at("barrier.noted", barrier.reset))
    barrier.wait(SOON)
    for other in others:
        ended(other)


def test_late_comer_dies_as_it_breaks_the_next_generation():
    in_action, go_on = ctx.Event(), ctx.Event()
    barrier = ctx.Barrier(2, lambda: (in_action.set(), go_on.wait(SOON)))
    others = [helper(come, barrier) for _ in range(2)]
    assert in_action.wait(SOON)
    killed(die_at("barrier.doomed", barrier.wait, 0.05))
    go_on.set()
    for other in others:
        ended(other)
    assert barrier.broken
