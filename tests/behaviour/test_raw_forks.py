"""A child that a program forks by `os.fork`, outside of this library: it holds up nothing, and ends nothing of its parent's."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PROGRAMS, eventually, plain_fork
from polyproc._memory.tracker import tracker
from polyproc.resource_tracker import ResourceTracker
from polyproc.shared_memory import SharedMemory

HELPERS = ["tracker", "fork_server", "spare", "daemon", "spawned_daemon", "manager", "pool"]


def in_session(leader):
    """Return the pids of a session, without zombies."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[3] == str(leader) and fields[0] not in "ZX":
            found.append(int(pid))
    return found


@pytest.mark.parametrize("how", ["parent ends", "parent is killed"])
@pytest.mark.parametrize("what", HELPERS)
def test_what_ends_with_a_program_does_so_while_a_child_lives_that_it_forked_itself(what, how):
    command = [sys.executable, str(PROGRAMS / "forks_outside.py"), what, how]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        child = int(program.stdout.readline())
        assert program.wait() == (0 if how == "parent ends" else -signal.SIGKILL)
        eventually(lambda: in_session(program.pid) == [child])
    eventually(lambda: not in_session(program.pid))


@pytest.mark.parametrize("what", HELPERS)
def test_the_end_of_a_child_that_a_program_forked_itself_ends_nothing_of_its_parents(what):
    command = [sys.executable, str(PROGRAMS / "forks_outside.py"), what, "child ends"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stdout.readline() == "0\n"
        left = in_session(program.pid)
        _, errors = program.communicate("")
    assert len(left) > (2 if what == "pool" else 1), left
    assert "Traceback" not in errors
    assert program.returncode == 0
    eventually(lambda: not in_session(program.pid))


def in_a_raw_fork(call):
    """Return the exit status of a child of `os.fork` that makes a call and exits with what comes of it."""
    pid = plain_fork()
    if pid == 0:
        status = 99
        try:
            status = call()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_forked_outside_has_a_family_of_its_own_that_ends_with_it():
    ours = SharedMemory(create=True, size=10)

    def make():
        assert tracker._mark == "" and tracker._fd is None
        SharedMemory("pptest_raw", create=True, size=10)
        Path(f"/dev/shm/{ours.name}").stat()
        return 5

    try:
        assert in_a_raw_fork(make) == 5
        eventually(lambda: not os.path.exists("/dev/shm/pptest_raw"))
        assert os.path.exists(f"/dev/shm/{ours.name}")
    finally:
        ours.close()
        ours.unlink()
        tracker._stop()


def test_a_child_of_ours_shares_its_parents_family(ctx):
    ours = SharedMemory(create=True, size=10)
    mark = tracker._mark
    seen = ctx.SimpleQueue()
    child = ctx.Process(target=say_the_mark, args=(seen,))
    child.start()
    try:
        assert seen.get() == mark
    finally:
        child.join()
        ours.close()
        ours.unlink()
        tracker._stop()


def say_the_mark(seen):
    seen.put(tracker._mark)


def test_a_stop_of_the_tracker_has_a_time_limit():
    tracker.ensure_running()
    pid = tracker._pid
    fd = os.dup(tracker._fd)  # as a child of ours has it
    tracker._stop(wait_timeout=0.1)
    assert tracker._waitpid_timed_out
    assert tracker._exitcode is None
    os.close(fd)
    assert os.waitpid(pid, 0) == (pid, 0)


@pytest.mark.parametrize("is_simple", [True, False])
@pytest.mark.parametrize(("lines", "exitcode"), [(["register"], 1), (["register", "unregister"], 0)])
def test_the_exit_code_of_a_trackers_helper_says_whether_something_was_left(is_simple, lines, exitcode):
    own = ResourceTracker()
    own._use_simple_format = is_simple
    for line in lines:
        getattr(own, line)("/some\nname", "dummy")
    assert own._check_alive()
    assert own._exitcode is None
    own._stop()
    assert own._exitcode == exitcode


def test_a_copy_that_the_users_code_makes_in_a_pools_thread_ends_where_it_would_come_back(method):
    """Of an iterable, a result that is opened, a callback, a call of a pool of threads: it would serve the workers, too."""
    program = [sys.executable, str(PROGRAMS / "forks_in_pool.py"), method]
    found = subprocess.run(program, capture_output=True, text=True, timeout=60)
    expected = ["[1, 2, 3] True", "5 True", "3 True", "[0, 1, 2]", "4 True", "3 True", "[0, 1, 2]"]
    assert (found.stdout.splitlines(), found.stderr) == (expected, "")
