"""Workers of a second pool, which were made ahead or by a fork server that is there, are as those of the first."""

import os
import re
import signal
import subprocess
import sys

import pytest

import polyproc
from conftest import eventually, is_running, needs, run_program
from polyproc._base import native as _native
from polyproc._forkserver.fork_server import forkserver, fresh_fork_server
from polyproc._platform.handles import children_of
from polyproc._start.early_interpreter import early
from support import targets

SERVERS = {"spawn": fresh_fork_server, "forkserver": forkserver}
by_servers = pytest.mark.parametrize("method", SERVERS)
has_core = pytest.mark.skipif(not _native.native, reason="needs the C core: only it makes siblings")
built_with_crash_points = bool(_native.native) and _native.native.core.CRASHPOINTS


def call(method, size=2):
    with polyproc.get_context(method).Pool(size) as pool:
        return pool.map(targets.echo, range(20), 1)


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))


def waiting(method):
    """Return the children that wait for the next pool, when they are there."""
    server = SERVERS[method]._forkserver_pid

    def find():
        return [pid for pid in (*children_of(os.getpid()), *children_of(server)) if pid != server and is_running(pid)]

    eventually(lambda: len(find()) == 2)
    return find()


def seen(library, method):
    done = run_program("pools_in_a_row.py", library, method, timeout=100)
    assert done.returncode == 0, done.stderr
    text = re.sub(r"/[^\" ]*/tmp\w+|/tmp/tmp\w+", "FOLDER", done.stdout)
    return sorted(text.replace(f'"{library}"', "LIBRARY").splitlines())


@needs("/proc")
def test_each_pool_by_spawn_sees_what_the_standard_librarys_does():
    mine, theirs = (seen(library, "spawn") for library in ("polyproc", "multiprocessing"))
    assert mine == theirs


@by_servers
def test_a_pool_goes_on_whoever_of_those_that_make_its_workers_was_killed(method):
    assert call(method) == list(range(20))
    if SERVERS[method]._forkserver_pid is None:
        pytest.skip("here nobody makes workers of such a pool but this process")
    for place in range(2):
        kill(waiting(method)[place])
        assert call(method) == list(range(20))
    first = SERVERS[method]._forkserver_pid
    kill(first)
    assert call(method) == list(range(20))
    assert SERVERS[method]._forkserver_pid != first
    with polyproc.get_context(method).Pool(1, maxtasksperchild=1) as pool:
        assert pool.apply(targets.echo, (1,)) == 1
        kill(SERVERS[method]._forkserver_pid)
        assert [pool.apply(targets.echo, (number,)) for number in range(5)] == list(range(5))


@has_core
@by_servers
def test_a_second_pools_workers_were_made_ahead(method):
    assert call(method) == list(range(20))
    pids = waiting(method)
    with polyproc.get_context(method).Pool(2) as pool:
        assert {process.pid for process in pool._pool} == set(pids)
    eventually(lambda: not any(map(is_running, pids)))


@has_core
@by_servers
def test_a_pool_orders_no_child_beside_its_workers(method):
    SERVERS[method]._stop()
    with polyproc.get_context(method).Pool(2) as pool:
        assert pool.map(targets.echo, range(20), 1) == list(range(20))
        server = SERVERS[method]._forkserver_pid
        assert set(children_of(os.getpid())) == {server, *(process.pid for process in pool._pool)}
        assert len(SERVERS[method]._client) == 0


@has_core
@by_servers
def test_an_interpreter_that_is_killed_before_it_has_its_job_costs_no_pool(method):
    early.begin(method)
    kill(early._interpreters[method].pid)
    assert call(method) == list(range(20))


@has_core
@by_servers
def test_an_interpreter_that_nobody_needs_in_the_end_leaves_with_its_program(method):
    text = f"import polyproc\ntry: polyproc.get_context({method!r}).Pool(0)\nexcept ValueError: print('refused')"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("refused\n", "", 0)


@pytest.mark.skipif(not built_with_crash_points, reason="the C core was built without crash points")
@pytest.mark.parametrize("point", ["clone.before", "clone.made"])
def test_where_no_worker_can_be_cloned_each_is_started_by_itself(point, monkeypatch):
    monkeypatch.setenv("POLYPROC_CRASH", point)
    assert call("spawn") == list(range(20))
    fresh_fork_server._stop()
    assert set(children_of(os.getpid())) <= {process.pid for process in polyproc.active_children()}


@has_core
def test_workers_by_spawn_are_this_processs_own():
    with polyproc.get_context("spawn").Pool(2) as pool:
        assert set(pool.map(targets.parent_pid, range(4), 1)) == {os.getpid()}
        assert polyproc.get_context("spawn").Process(target=targets.nothing)._popen is None


@needs("/proc")
@by_servers
def test_nobody_is_left_of_a_program_that_is_killed_between_two_pools(method):
    text = (
        "import os, polyproc, time\n"
        "from polyproc._platform.handles import children_of\n"
        "if __name__ == '__main__':\n"
        f"    with polyproc.get_context({method!r}).Pool(2) as pool: pool.map(abs, range(4), 1)\n"
        "    time.sleep(0.2)\n"
        "    print(*children_of(os.getpid()), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in done.stdout.split()]
    eventually(lambda: not any(map(is_running, pids)))


@by_servers
def test_what_starts_interpreters_in_another_way_is_used(method, tmp_path):
    """A program that has put a starter of its own in the place of ours, as debuggers do."""
    text = (
        "import sys, polyproc.util\n"
        "ours, calls = polyproc.util.spawnv_passfds, []\n"
        "def spawnv_passfds(*args):\n"
        "    calls.append(1)\n"
        "    return ours(*args)\n"
        "polyproc.util.spawnv_passfds = spawnv_passfds\n"
        "if __name__ == '__main__':\n"
        f"    with polyproc.get_context({method!r}).Pool(2) as pool: pool.map(abs, range(4), 1)\n"
        "    print(len(calls))\n"
    )
    program = tmp_path / "program.py"
    program.write_text(text)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert int(done.stdout) == {"spawn": 2, "forkserver": 1}[method]
