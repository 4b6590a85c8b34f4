"""SIGKILL at every crash point of a start by fork server, and at random."""

import os
import random
import signal
import threading
import time

import pytest

import polyproc
from conftest import eventually, is_running, run_program
from polyproc._base import native as _native
from polyproc._forkserver.fork_server import forkserver
from polyproc._platform.handles import children_of
from support import targets

ctx = polyproc.get_context("forkserver")
built_with_crash_points = bool(_native.native) and _native.native.core.CRASHPOINTS


def appending(path):
    with open(path, "a") as file:
        file.write("ran\n")


@pytest.mark.skipif(not built_with_crash_points, reason="the C core was built without crash points")
@pytest.mark.parametrize("point", ["clone.before", "clone.made"])
def test_start_happens_exactly_once_although_the_fork_server_dies(point, tmp_path, monkeypatch):
    path = tmp_path / "runs"
    monkeypatch.setenv("POLYPROC_CRASH", point)
    forkserver.ensure_running()
    monkeypatch.delenv("POLYPROC_CRASH")  # the next fork server lives
    first = forkserver._forkserver_pid
    process = ctx.Process(target=appending, args=(str(path),))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert forkserver._forkserver_pid != first
    assert path.read_text() == "ran\n"
    _nobody_is_left()
    assert path.read_text() == "ran\n"


@pytest.mark.skipif(not built_with_crash_points, reason="the C core was built without crash points")
def test_fork_server_that_dies_each_time_is_an_error_not_a_loop(monkeypatch):
    monkeypatch.setenv("POLYPROC_CRASH", "clone.made")
    process = ctx.Process(target=targets.nothing)
    with pytest.raises(OSError, match="died 3 times in a row"):
        process.start()
    monkeypatch.delenv("POLYPROC_CRASH")
    _nobody_is_left()
    process.start()
    process.join(30)
    assert process.exitcode == 0


def _nobody_is_left():
    """The client has reaped the children that it was never told of, too."""
    forkserver._stop()
    known = {p.pid for p in polyproc.active_children()}
    assert set(children_of(os.getpid())) <= known


def test_child_that_waits_for_a_job_may_be_killed():
    """From the second start on one child waits; when it was killed, another gets the job."""
    for _ in range(3):
        process = ctx.Process(target=targets.nothing)
        process.start()
        process.join()
    fork_server = forkserver._forkserver_pid

    def find_waiting():
        return [pid for pid in (*children_of(os.getpid()), *children_of(fork_server)) if pid != fork_server]

    eventually(lambda: len(find_waiting()) == 1)
    waiting = find_waiting()
    os.kill(waiting[0], signal.SIGKILL)
    eventually(lambda: not is_running(waiting[0]))
    process = ctx.Process(target=targets.echo, args=("works",))
    process.start()
    assert process.result(30) == "works"
    assert process.pid != waiting[0]


@pytest.mark.skipif(not built_with_crash_points, reason="the C core was built without crash points")
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("point", ["clone.before", "clone.made", "team.told"])
def test_a_pool_whose_fork_server_dies_as_it_makes_a_worker(point, workers, monkeypatch):
    """What it may have made has got no job; the worker is there all the same, once, and nobody else is left."""
    monkeypatch.setenv("POLYPROC_CRASH", point)
    done = run_program("recycling_pool.py", str(workers))
    assert done.stderr == "", done
    assert "20 calls by" in done.stdout, done
    assert "0 children left" in done.stdout, done
    if workers == 1:
        assert "by 10 workers" in done.stdout, done


@pytest.mark.chaos
def test_random_kills_of_the_fork_server(tmp_path):
    """Every start either runs its target once or raises; no start is lost, none runs twice."""
    seed = int(os.environ.get("POLYPROC_SEED", time.time_ns() % 10**6))
    print(f"seed {seed}")
    rng = random.Random(seed)
    stop = threading.Event()
    begin = time.monotonic()
    process = ctx.Process(target=targets.nothing)
    process.start()
    process.join()
    longest = max(0.05, 2 * (time.monotonic() - begin))  # some starts are to succeed

    def kill_fork_servers():
        while not stop.wait(rng.uniform(0.001, longest)):
            pid = forkserver._forkserver_pid
            if pid is not None:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    killer = threading.Thread(target=kill_fork_servers)
    killer.start()
    started = []
    try:
        for number in range(60):
            path = tmp_path / str(number)
            process = ctx.Process(target=appending, args=(str(path),))
            try:
                process.start()
            except OSError:
                continue
            started.append((path, process))
    finally:
        stop.set()
        killer.join()
    assert started
    for path, process in started:
        process.join(30)
        assert process.exitcode == 0
        assert path.read_text() == "ran\n"
    _nobody_is_left()
    assert len(list(tmp_path.iterdir())) == len(started)
