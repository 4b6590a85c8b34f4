"""Workers that come later are made by a fork server, which was forked before the pool had threads."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import polyproc
from conftest import eventually, is_running
from polyproc._base import native as _native
from polyproc._forkserver import client
from polyproc._platform.handles import children_of
from polyproc._workers import worker_set
from support import pool_work

pytestmark = pytest.mark.skipif(not _native.native, reason="needs the C core: only it makes siblings")
ctx = polyproc.get_context("fork")
lock = threading.Lock()
setting = "as it was"


def fork_server_of(pool):
    return pool._engine.workers._fork_server._client.pid


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))


def take_lock():
    return lock.acquire(timeout=5)


def read_setting():
    return setting


def read_environment(name):
    return os.environ.get(name), os.getcwd()


def who():
    return os.getpid(), os.getppid(), polyproc.current_process().name, polyproc.parent_process().pid


def test_it_does_not_hear_ctrl_c():
    """A terminal tells all; it has to be there for the workers to come."""
    with ctx.Pool(1, maxtasksperchild=1) as pool:
        assert pool.apply(who) != pool.apply(who)  # from the second worker on it is one that Python runs in
        with open(f"/proc/{fork_server_of(pool)}/status") as file:
            (ignored,) = [int(line.split()[1], 16) for line in file if line.startswith("SigIgn:")]
    assert ignored >> (signal.SIGINT - 1) & 1


@pytest.fixture
def held_lock():
    """Have another thread hold the lock."""
    is_held, release = threading.Event(), threading.Event()

    def hold():
        with lock:
            is_held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    yield lambda: (thread.start(), is_held.wait())
    release.set()
    thread.join()


def test_a_lock_that_another_thread_holds_is_free_in_a_replaced_worker(held_lock):
    with ctx.Pool(1) as pool:
        first = pool.apply(os.getpid)
        held_lock()
        kill(first)
        assert pool.apply(take_lock)
        assert pool.apply(os.getpid) != first


def test_replaced_workers_are_children_like_the_first(tmp_path, monkeypatch):
    with ctx.Pool(1) as pool:
        first = pool.apply(who)
        assert first == (first[0], os.getpid(), first[2], os.getpid())
        for _ in range(3):
            kill(pool.apply(os.getpid))
            pid, parent, name, parent_pid = pool.apply(who)
            assert (parent, parent_pid) == (os.getpid(), os.getpid())
            assert name.startswith("ForkPoolWorker-")
            assert [process.pid for process in pool._pool] == [pid]
        monkeypatch.setenv("POLYPROC_TEST_SETTING", "new")
        monkeypatch.chdir(tmp_path)
        kill(pool.apply(os.getpid))
        assert pool.apply(read_environment, ("POLYPROC_TEST_SETTING",)) == ("new", str(tmp_path))


def test_they_see_the_program_as_it_was(monkeypatch):
    with ctx.Pool(1) as pool:
        monkeypatch.setattr(f"{__name__}.setting", "changed")
        assert pool.apply(read_setting) == "as it was"
        kill(pool.apply(os.getpid))
        assert pool.apply(read_setting) == "as it was"


def test_an_executor_forks_at_its_first_call(monkeypatch):
    with polyproc.ProcessPoolExecutor(1, ctx) as executor:
        monkeypatch.setattr(f"{__name__}.setting", "at the first call")
        assert executor.submit(read_setting).result(30) == "at the first call"
        monkeypatch.setattr(f"{__name__}.setting", "changed")
        kill(executor.submit(os.getpid).result(30))
        assert executor.submit(read_setting).result(30) == "at the first call"


def test_what_the_pool_was_made_with_need_not_be_pickled():
    gate = threading.Lock()  # cannot be pickled
    with ctx.Pool(1, lambda *args: pool_work.remember(args), (gate, lambda: "there"), maxtasksperchild=1) as pool:
        for _ in range(3):
            assert pool.apply(call_kept) == "there"


def call_kept():
    gate, function = pool_work.kept
    with gate:
        return function()


def test_workers_that_come_on_demand():
    with ctx.Pool(3, idle_timeout=0.05) as pool:
        assert not pool._pool
        assert pool.map(pool_work.double, range(50), chunksize=1) == [2 * n for n in range(50)]
        eventually(lambda: not pool._pool)
        assert pool.map(pool_work.double, range(50), chunksize=1) == [2 * n for n in range(50)]
        pool.resize(20)
        assert len(set(pool.map(slow_pid, range(40), chunksize=1))) > 3


def slow_pid(number):
    time.sleep(0.02)
    return os.getpid()


def test_a_pool_without_its_fork_server_goes_on():
    with ctx.Pool(2) as pool:
        kill(fork_server_of(pool))
        for _ in range(3):
            kill(pool.apply(os.getpid))
            assert pool.map(pool_work.double, range(20)) == [2 * n for n in range(20)]


def test_a_fork_server_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(client, "_LIMIT", 0.2)
    with ctx.Pool(1) as pool:
        fork_server = fork_server_of(pool)
        os.kill(fork_server, signal.SIGSTOP)
        kill(pool.apply(os.getpid))
        assert pool.apply(pool_work.double, (2,)) == 4
        assert not is_running(fork_server)


def test_a_ctrl_c_or_sigterm_for_all_leaves_it_silent(capfd):
    def handler(signum, frame):
        os.write(2, f"handled in {os.getpid()}".encode())

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with ctx.Pool(1) as pool:
            fork_server = fork_server_of(pool)
            os.kill(fork_server, signal.SIGINT)
            kill(pool.apply(os.getpid))
            assert pool.apply(get_handler, (signal.SIGTERM,)) == handler.__name__
            assert fork_server_of(pool) == fork_server
            os.kill(fork_server, signal.SIGTERM)
            kill(pool.apply(os.getpid))
            assert pool.apply(pool_work.double, (2,)) == 4
    finally:
        signal.signal(signal.SIGTERM, before)
    errors = capfd.readouterr().err
    assert "Traceback" not in errors
    assert str(fork_server) not in errors


def get_handler(number):
    return signal.getsignal(number).__name__


def test_it_ends_with_its_pool():
    pool = ctx.Pool(1)
    fork_server = fork_server_of(pool)
    assert fork_server in children_of(os.getpid())
    pool.close()
    pool.join()
    assert fork_server not in children_of(os.getpid())


@pytest.mark.filterwarnings("ignore")  # of a fork beside other threads
@pytest.mark.parametrize("when", ["before it", "after it"])
def test_a_pool_that_ends_while_its_fork_server_is_being_made_leaves_none(monkeypatch, when):
    begun, ended, made = threading.Event(), threading.Event(), threading.Event()

    def hold_up(at):
        if at == when:
            begun.set()
            ended.wait(20)

    class Slow(client.PoolForkServer):
        def fork(self, *args):
            hold_up("before it")
            super().fork(*args)
            made.set()
            time.sleep(0.3)

    start_one = worker_set.WorkerSet._start_one

    def start_late(self, *args):
        hold_up("after it")
        start_one(self, *args)

    monkeypatch.setattr(worker_set, "PoolForkServer", Slow)
    monkeypatch.setattr(worker_set.WorkerSet, "_start_one", start_late)
    executor = polyproc.ProcessPoolExecutor(1, polyproc.get_context("fork"))
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(executor.submit(abs, -1)))
    thread.start()
    assert begun.wait(20)
    executor.kill_workers()
    ended.set()
    assert made.wait(20)
    executor.shutdown()
    thread.join()
    with pytest.raises(Exception):  # noqa: B017  (it was ended: what matters is that it has an outcome)
        outcome[0].result(20)
    eventually(lambda: not children_of(os.getpid()))


BORN = """
import os, sys
import polyproc

def born():
    os.write(1, b"born\\n")

if __name__ == "__main__":
    os.register_at_fork(after_in_child=born)
    pool = polyproc.get_context("fork").Pool(1)
    fork_server = pool._engine.workers._fork_server._client.pid
    pool.apply(abs, (1,))
    os.write(1, b"worked\\n")
    if sys.argv[1] == "killed":
        os.write(1, b"%d\\n" % fork_server)
        os.kill(os.getpid(), 9)
    os.kill(pool.apply(os.getpid), 9)
    pool.apply(abs, (1,))
    pool.terminate()
    pool.join()
"""


def run_born(way):
    done = subprocess.run([sys.executable, "-c", BORN, way], stdout=subprocess.PIPE, timeout=60)
    return done.stdout.decode().split()


def test_runs_nothing_until_it_is_needed():
    words = run_born("replaced")
    assert words[:2] == ["born", "worked"]  # the worker alone
    assert words[2:] == ["born", "born"]  # the fork server, and the worker that it has made


def test_that_runs_nothing_ends_with_its_killed_client():
    *words, fork_server = run_born("killed")
    assert words == ["born", "worked"]
    eventually(lambda: not is_running(int(fork_server)))
