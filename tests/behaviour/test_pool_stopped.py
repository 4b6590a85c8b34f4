"""A worker that is stopped, or reads nothing, costs its own call, and holds nobody up."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import polyproc
from polyproc._base.native import native
from polyproc._workers.worker_set import WorkerChannel
from support import pool_work

LARGE = b"x" * 10_000_000  # more than any pipe takes
LIMIT = 20.0
AGAIN = {"timeout": 0.5, "grace": 0.1, "retries": 1, "retry_on": TimeoutError}


@pytest.fixture
def stopped(ctx):
    """A pool whose only worker is stopped."""
    with ctx.Pool(1) as pool:
        pool.apply(abs, (1,))
        os.kill(pool._pool[0].pid, signal.SIGSTOP)
        yield pool
        pool.terminate()
        pool.join()


def in_time(act):
    """Call `act` in a thread; fail if it does not return in time."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive(), "no end"


def test_its_call_times_out_and_the_next_one_runs(stopped):
    late = stopped.options(timeout=0.2, grace=0.1).submit(len, LARGE)
    behind = stopped.submit(len, LARGE)
    with pytest.raises(TimeoutError):
        late.result(LIMIT)
    assert behind.result(LIMIT) == len(LARGE)


def test_its_call_can_be_cancelled(stopped):
    future = stopped.options(grace=0.1).submit(len, LARGE)
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(LIMIT)
    assert stopped.options(**AGAIN).submit(len, LARGE).result(LIMIT) == len(LARGE)


def test_its_pool_can_be_terminated(stopped):
    result = stopped.apply_async(len, (LARGE,))
    in_time(stopped.terminate)
    in_time(stopped.join)
    with pytest.raises(polyproc.ProcessError, match="terminated"):
        result.get(LIMIT)


def test_its_pool_is_closed_when_it_goes_on(stopped):
    result = stopped.apply_async(len, (LARGE,))
    worker = stopped._pool[0].pid
    in_time(stopped.close)
    assert not result.ready()
    os.kill(worker, signal.SIGCONT)
    in_time(stopped.join)
    assert result.get(LIMIT) == len(LARGE)


def test_what_a_killed_worker_had_a_part_of_is_run_by_another(stopped):
    result = stopped.apply_async(len, (LARGE,))
    os.kill(stopped._pool[0].pid, signal.SIGKILL)
    assert result.get(LIMIT) == len(LARGE)


def test_a_call_of_whose_size_workers_die_is_lost_in_the_end(monkeypatch, tmp_path):
    """Each of them had a part of its message, as far as is known."""
    monkeypatch.setattr(WorkerChannel, "left_over", lambda channel: ([], 1))
    with polyproc.get_context("fork").Pool(1) as pool, pytest.raises(polyproc.ProcessDied):
        pool.apply(pool_work.die_before, (str(tmp_path / "count"), 100))
    assert pool_work.attempts(tmp_path / "count") == 4  # with this one


def large_result(number):
    return b"y" * 10_000_000 if number else os.getpid()


def test_who_is_stopped_as_it_sends_a_result_costs_its_own_call(ctx):
    holds, release = threading.Event(), threading.Event()

    def hold(pid):
        holds.set()
        release.wait(LIMIT)

    with ctx.Pool(2) as pool:
        pool.apply_async(large_result, (0,), callback=hold)
        assert holds.wait(LIMIT)  # and nobody hears the workers
        others = [pool.options(timeout=1.0, grace=0.1).submit(large_result, 1) for _ in range(2)]
        time.sleep(0.1)  # a part of their results may be out by now; what follows holds in any case
        os.kill(pool._pool[0].pid, signal.SIGSTOP)
        release.set()
        assert pool.options(**AGAIN).submit(abs, -3).result(LIMIT) == 3
        for future in others:
            try:
                assert len(future.result(LIMIT)) == 10_000_000
            except TimeoutError:
                pass
    pool.join()


# -- stopped at each step of what a worker does to its queues ----------------------------------------------------------

POINTS = [
    "lock.acquired",
    "queue.written",
    "queue.committed",
    "queue.lowered",
    "queue.peeked",
    "queue.taken",
]
MANY = {"timeout": 1.0, "grace": 0.1, "retries": 9, "retry_on": TimeoutError}
has_points = pytest.mark.skipif(
    not native or not native.core.CRASHPOINTS, reason="the C core was built without crash points"
)


def stop_at(point):
    """Have this worker stop where it next comes to a step."""
    import polyproc._core as core

    core.crash_at(f"stop:{point}")
    return os.getpid()


def one_stopped(pool, point):
    """Have calls bring one of a pool's workers to where it stops."""
    workers = list(pool._pool if hasattr(pool, "_pool") else pool._processes.values())
    pool.submit(stop_at, point)
    deadline = time.monotonic() + LIMIT
    while not any(state_of(worker.pid) == "T" for worker in workers) and time.monotonic() < deadline:
        for _ in workers:  # so that all of them get one
            pool.submit(time.sleep, 0.01)
        time.sleep(0.02)


def state_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


@has_points
@pytest.mark.parametrize("point", POINTS)
def test_who_is_stopped_at_any_step_holds_up_nobody_else(point):
    with polyproc.get_context("fork").Pool(3) as pool:
        pool.map(abs, range(30), 1)
        one_stopped(pool, point)
        futures = [pool.options(**MANY).submit(bytes, 200_000) for _ in range(6)]
        assert [len(future.result(LIMIT)) for future in futures] == [200_000] * 6
        in_time(pool.terminate)
        in_time(pool.join)


@has_points
@pytest.mark.parametrize("point", ["lock.acquired", "queue.written", "queue.peeked"])
@pytest.mark.parametrize("end", ["kill_workers", "terminate_workers"])
def test_an_executor_with_a_stopped_worker_ends(point, end):
    executor = polyproc.ProcessPoolExecutor(2, polyproc.get_context("fork"))
    executor.submit(abs, 1).result(LIMIT)
    one_stopped(executor, point)
    in_time(getattr(executor, end))
    in_time(executor.shutdown)


PROGRAM = """
import os, signal, sys, time
import polyproc

def stop_at(point):
    import polyproc._core as core
    core.crash_at(point)

pool = polyproc.get_context("fork").Pool(2)
pool.map(abs, range(10), 1)
pool.apply_async(stop_at, ("stop:" + sys.argv[1],))
while not any(open(f"/proc/{worker.pid}/stat").read().rpartition(")")[2].split()[0] == "T" for worker in pool._pool):
    time.sleep(0.002)
if sys.argv[2] == "interrupt":
    os.kill(os.getpid(), signal.SIGINT)
elif sys.argv[2] == "with":
    with pool:
        pass
elif sys.argv[2] == "raise":
    raise ZeroDivisionError
"""


@has_points
@pytest.mark.parametrize("end", ["interrupt", "with", "raise", "leave"])
def test_a_program_with_a_stopped_worker_ends(end):
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, "queue.written", end], timeout=LIMIT, capture_output=True, text=True
    )
    expected = {"interrupt": (-signal.SIGINT, 1), "with": (0, 0), "raise": (1, 1), "leave": (0, 0)}[end]
    assert (found.returncode, found.stderr.count("Traceback")) == expected, found.stderr
