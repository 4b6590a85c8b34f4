"""A call that is submitted where hardly any of the stack is left fails alone: its pool goes on."""

import contextlib
import sys

import pytest

import polyproc
from polyproc.pool import ThreadPool
from support import pool_work

LIMIT = 30
KINDS = ["pool", "executor", "threads"]


def at_depth(depth, act):
    """Call `act` under so many other calls."""
    return at_depth(depth - 1, act) if depth else act()


def depth_of_stack():
    frame, depth = sys._getframe(1), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def make(kind, ctx):
    if kind == "threads":
        return ThreadPool(2)
    return ctx.Pool(2) if kind == "pool" else polyproc.ProcessPoolExecutor(2, ctx)


def submitted_with(left, pool, number):
    """Submit a call with so many calls left on the stack; return whether it was answered."""
    depth = sys.getrecursionlimit() - depth_of_stack() - left
    try:
        result = at_depth(depth, lambda: pool.submit(pool_work.double, number))
        assert result.result(LIMIT) == 2 * number
    except RecursionError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_without_room_on_the_stack_fails_alone(kind, ctx):
    with make(kind, ctx) as pool:
        assert pool.submit(pool_work.double, 1).result(LIMIT) == 2
        answers = []
        for left in range(1, 130):
            other = pool.submit(pool_work.double, 5)
            answers.append(submitted_with(left, pool, left))
            assert other.result(LIMIT) == 10
            assert pool.submit(pool_work.double, 3).result(LIMIT) == 6
        assert {*answers} == {True, False}
        assert answers == sorted(answers), "more room, and it fails"


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_call_without_room_on_the_stack_leaves_a_pool_that_works(kind, ctx):
    for left in range(10, 160, 25):
        with make(kind, ctx) as pool:
            submitted_with(left, pool, 4)
            assert pool.submit(pool_work.double, 3).result(LIMIT) == 6


def test_what_is_ended_without_room_on_the_stack_ends(ctx):
    for left in range(5, 100, 9):
        pool = ctx.Pool(1)
        running = pool.submit(pool_work.slowly, 1, 0.01)
        with contextlib.suppress(RecursionError):
            at_depth(sys.getrecursionlimit() - depth_of_stack() - left, pool.close)
        pool.close()
        pool.join()
        assert running.result(LIMIT) == (1, 2)
