"""A worker that is SIGKILLed at each step of a batch of short calls: csrc/core/pp_batch_cursor.h."""

import os
import signal

import pytest

import polyproc
from polyproc._base.native import native

pytestmark = pytest.mark.skipif(
    not native or not native.core.CRASHPOINTS, reason="the C core was built without crash points"
)

CALLS = 5000
counts = None


def keep(array):
    global counts
    counts = array


def count(number):
    counts[number] += 1  # no two processes count the same
    return number


def die_at(point):
    import polyproc._core as core

    core.crash_at(point)
    return os.getpid()


@pytest.mark.parametrize("point", ["turn.begun", "turn.taken"])
def test_a_worker_dies_in_a_batch(point):
    """The map raises; nothing of it ran twice; the other worker and the new one go on."""
    ctx = polyproc.get_context("fork")
    array = ctx.RawArray("i", CALLS)
    with ctx.Pool(2, keep, (array,)) as pool:
        for _ in range(3):
            pool.map(count, range(CALLS), 1)  # it shows that they are short
        before = list(array)
        doomed = None
        with pytest.raises(polyproc.ProcessDied) as caught:
            while True:  # until a worker that is to die has begun a batch of which not all was taken back meanwhile
                if doomed not in [process.pid for process in pool._pool]:
                    doomed = pool.apply(die_at, (point,))
                pool.map(count, range(CALLS), 1)
                before = list(array)
        assert caught.value.signal == signal.SIGKILL
        assert max(now - then for now, then in zip(array, before, strict=True)) <= 1
        before = list(array)
        assert pool.map(count, range(CALLS), 1) == list(range(CALLS))
        assert {now - then for now, then in zip(array, before, strict=True)} == {1}
