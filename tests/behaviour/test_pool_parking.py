"""Workers by fork that have had no task wait in C: nothing of the program's runs in them, and nobody notices."""

import os
import signal
import subprocess
import sys
import threading

import pytest

import polyproc
from conftest import eventually, is_running
from polyproc._base import native as _native
from polyproc._workers import worker_set

pytestmark = pytest.mark.skipif(not _native.native, reason="needs the C core: only it can wait without Python")
ctx = polyproc.get_context("fork")

PROGRAM = """
import os, signal, sys, time
import polyproc

def work(number):
    os.write(1, b"worked\\n")

if __name__ == "__main__":
    os.register_at_fork(after_in_child=lambda: os.write(1, b"born\\n"))
    pool = polyproc.get_context("fork").Pool(2)
    workers = list(pool._pool)
    if sys.argv[1] == "call":
        pool.apply(work, (1,))
    elif sys.argv[1] == "kill":
        os.write(1, b"%d %d\\n" % tuple(worker.pid for worker in workers))
        os.kill(os.getpid(), signal.SIGKILL)
    elif sys.argv[1] == "stdin":
        for worker in workers:
            until = time.monotonic() + 20  # it may still be on its way to where it waits
            while (file := os.readlink(b"/proc/%d/fd/0" % worker.pid)) != b"/dev/null" and time.monotonic() < until:
                time.sleep(0.001)
            os.write(1, file + b"\\n")
    pool.terminate() if sys.argv[1] == "terminate" else pool.close()
    pool.join()
    os.write(1, b"%d %d\\n" % tuple(worker.exitcode for worker in workers))
"""


def run(way):
    done = subprocess.run([sys.executable, "-c", PROGRAM, way], stdin=subprocess.PIPE, capture_output=True, timeout=60)
    assert done.stderr == b""
    return done.stdout.decode().split()


def pids_of(pool):
    return {worker.pid for worker in pool._pool}


def name_of_worker():
    return polyproc.current_process().name


def test_a_pool_that_was_never_called_has_run_nothing_in_its_workers():
    assert run("close") == ["0", "0"]
    assert run("terminate") == [str(-signal.SIGTERM)] * 2


def test_functions_for_forks_run_before_the_first_call_and_in_its_worker_alone():
    assert run("call") == ["born", "worked", "0", "0"]


def test_workers_that_wait_end_with_their_killed_parent():
    pids = run("kill")
    eventually(lambda: not any(is_running(int(pid)) for pid in pids))


def test_a_worker_that_waits_has_let_go_of_standard_input():
    assert run("stdin") == ["/dev/null", "/dev/null", "0", "0"]


def test_workers_that_are_killed_before_their_first_call_are_replaced():
    with ctx.Pool(2) as pool:
        first = pids_of(pool)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(pids_of(pool)) == 2 and not pids_of(pool) & first)
        assert pool.map(abs, [-1, -2, -3], 1) == [1, 2, 3]


@pytest.mark.parametrize("make", [lambda: ctx.Pool(1), lambda: polyproc.ProcessPoolExecutor(1, ctx)])
def test_a_ctrl_c_before_the_first_call_is_not_for_a_worker(make):
    with make() as pool:
        if hasattr(pool, "map_async"):
            (pid,) = pids_of(pool)
            os.kill(pid, signal.SIGINT)
            assert pool.apply(os.getpid) == pid
        else:
            pid = pool.submit(os.getpid).result()
            os.kill(pid, signal.SIGINT)
            assert pool.submit(os.getpid).result() == pid


def test_a_call_can_be_ended_that_is_a_workers_first():
    with ctx.Pool(1) as pool:
        call = pool.options(timeout=0.2).submit(signal.pause)
        with pytest.raises(polyproc.TimeoutError):
            call.result(20)
        assert pool.apply(abs, (-1,)) == 1


def test_a_signal_that_the_program_handles_is_handled_in_a_worker_that_had_no_call():
    read_fd, write_fd = os.pipe()
    before = signal.signal(signal.SIGUSR1, lambda *_: os.write(write_fd, b"%d\n" % os.getpid()))
    try:
        with ctx.Pool(1) as pool:
            (pid,) = pids_of(pool)
            os.kill(pid, signal.SIGUSR1)
            assert os.read(read_fd, 100) == b"%d\n" % pid
            assert pool.apply(os.getpid) == pid
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(read_fd)
        os.close(write_fd)


def test_an_initializer_runs_without_a_call():
    read_fd, write_fd = os.pipe()
    try:
        with ctx.Pool(2, lambda: os.write(write_fd, b"%6d" % os.getpid())) as pool:
            told = b""
            while len(told) < 12:
                told += os.read(read_fd, 12)
            assert {int(told[:6]), int(told[6:])} == pids_of(pool)
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_a_process_class_of_the_programs_runs_without_a_call():
    read_fd, write_fd = os.pipe()

    class Writing(type(ctx).Process):
        def run(self):
            os.write(write_fd, b"%d" % os.getpid())
            super().run()

    class Context(type(ctx)):
        Process = Writing

    try:
        with polyproc.pool.Pool(1, context=Context()) as pool:
            assert {int(os.read(read_fd, 100))} == pids_of(pool)
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_a_worker_that_waited_has_its_name_and_the_programs_state():
    with ctx.Pool(1) as pool:
        assert pool.apply(name_of_worker) == pool._pool[0].name


def test_a_pool_that_lives_on_is_watched_by_a_thread():
    with ctx.Pool(1):
        eventually(lambda: "polyproc-pool-watch" in [thread.name for thread in threading.enumerate()])


def test_deaths_are_noted_where_no_thread_can_watch(monkeypatch):
    start_thread = worker_set.start_thread

    def refuse(thread):
        if thread.name == "polyproc-pool-watch":
            raise RuntimeError("can't start new thread")
        start_thread(thread)

    monkeypatch.setattr(worker_set, "start_thread", refuse)
    with ctx.Pool(1) as pool:
        first = pids_of(pool)
        with pytest.raises(polyproc.ProcessDied):
            pool.apply(kill_self)
        assert pool.apply(abs, (-1,)) == 1
        assert not pids_of(pool) & first


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)
