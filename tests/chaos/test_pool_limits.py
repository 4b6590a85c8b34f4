"""Timeouts, cancelling and kills at random: every call is answered in its time, none is ended for another."""

import os
import time
from concurrent.futures import CancelledError

import pytest

import polyproc
from support import pool_work

pytestmark = pytest.mark.chaos
SECONDS = float(os.environ.get("POLYPROC_CHAOS_SECONDS", "3"))


def submit_one(pool, chance, folder, number):
    """Submit a call; return its future, and what it may come to."""
    kind = chance.choice(["short", "short", "slow", "sleeps", "stubborn", "in C", "swallows"])
    if kind == "short":
        return pool.submit(pool_work.double, number), {2 * number}
    if kind == "slow":
        return pool.submit(pool_work.nap, 0.005), {0.005}
    view = pool.options(timeout=0.02 + chance.random() * 0.05, grace=chance.random() * 0.05)
    if kind == "sleeps":
        return view.submit(time.sleep, 60), {TimeoutError}
    if kind == "stubborn":
        return view.submit(pool_work.stubborn, str(folder / "pids")), {TimeoutError}
    if kind == "in C":
        return view.submit(pool_work.loop_in_c), {TimeoutError}
    return view.submit(pool_work.swallow, 60), {TimeoutError, "TimeoutError"}


@pytest.mark.parametrize("workers", [1, 3])
def test_limits_and_cancelling(chance, tmp_path, workers):
    """What has no limit is never ended; what has one ends in time; what is cancelled never comes."""
    calls = ended = cancelled = 0
    with polyproc.get_context("fork").Pool(workers) as pool:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            submitted = [submit_one(pool, chance, tmp_path, number) for number in range(20)]
            for future, expected in chance.sample(submitted, 4):
                time.sleep(chance.random() * 0.01)
                if future.cancel():
                    expected.add(CancelledError)
            for future, expected in submitted:
                calls += 1
                try:
                    found = future.result(60)
                except (TimeoutError, CancelledError) as error:
                    found = CancelledError if isinstance(error, CancelledError) else TimeoutError
                ended += found is TimeoutError
                cancelled += found is CancelledError
                assert future.cancelled() == (found is CancelledError)
                assert found in expected
        assert pool.map(pool_work.double, range(100)) == [2 * number for number in range(100)]
    print(calls, "calls,", ended, "ended,", cancelled, "cancelled")
    assert ended and cancelled
