"""The fork server: preloads, threads, deaths."""

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import polyproc
from conftest import eventually, is_running
from polyproc._base import native as _native
from polyproc._forkserver.fork_server import ForkServer, forkserver
from polyproc._platform.handles import children_of
from support import targets

ctx = polyproc.get_context("forkserver")


@pytest.fixture
def preload():
    """Set preloads; undo it after the test."""
    yield polyproc.set_forkserver_preload
    polyproc.set_forkserver_preload(["__main__"])


def result_of(target, *args):
    process = ctx.Process(target=target, args=args)
    process.start()
    return process.result(30)


def modules():
    return " ".join(sys.modules)


def native_threads():
    return len(os.listdir("/proc/self/task"))


def test_preloaded_modules_are_there(preload):
    preload(["colorsys", "support.targets"])
    assert {"colorsys", "support.targets"} <= set(result_of(modules).split())


def test_module_names_must_be_strings(preload):
    with pytest.raises(TypeError, match="module_names must be a list of strings"):
        preload([1])
    with pytest.raises(ValueError, match="on_error must be"):
        preload(["os"], on_error="shout")


def test_failed_preload_warns_fails_or_is_ignored(preload):
    preload(["no_such_module"], on_error="ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert result_of(targets.echo, 1) == 1
    forkserver._stop()
    preload(["no_such_module"], on_error="warn")
    with pytest.warns(RuntimeWarning, match="Failed to preload module 'no_such_module'"):
        assert result_of(targets.echo, 2) == 2
    forkserver._stop()
    preload(["no_such_module"], on_error="fail")
    with pytest.raises(ImportError, match="no_such_module"):
        result_of(targets.echo, 3)


def test_fork_server_with_threads_falls_back_to_children_of_its_own(preload, tmp_path, monkeypatch):
    """A preloaded module keeps a thread: the fork server may not clone, so it forks and reports."""
    (tmp_path / "keeps_a_thread.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(100,), daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    preload(["keeps_a_thread"])
    process = ctx.Process(target=targets.who)
    process.start()
    _, pid, _, ppid, parent_pid, _, parent_alive, _ = process.result(30)
    assert (pid, ppid) == (process.pid, forkserver._forkserver_pid)
    assert (parent_pid, parent_alive, process.exitcode) == (os.getpid(), True, 0)
    for target, args, code in ((targets.exit_with, (7,), 7), (targets.kill_self, (9,), -9)):
        process = ctx.Process(target=target, args=args)
        process.start()
        process.join(30)
        assert process.exitcode == code


@pytest.mark.skipif(not _native.native, reason="needs the C core")
def test_children_are_ours_and_whole():
    process = ctx.Process(target=targets.who)
    process.start()
    assert process.result(30)[3] == os.getpid()
    assert result_of(_threads_and_children_work) == (True, "from a thread", 5)


def _threads_and_children_work():
    import subprocess
    import threading

    found = []
    thread = threading.Thread(target=lambda: found.append("from a thread"))
    thread.start()
    thread.join()
    code = subprocess.run([sys.executable, "-c", "import sys; sys.exit(5)"]).returncode
    return threading.main_thread().native_id == os.getpid(), found[0], code


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_dead_fork_server_is_replaced_and_its_children_go_on(signum):
    ours, theirs = ctx.Pipe()
    with ours, theirs:
        before = ctx.Process(target=targets.recv_and_send, args=(theirs,))
        before.start()
        old = forkserver._forkserver_pid
        os.kill(old, signum)
        eventually(lambda: not is_running(old))
        for word in ("a child that waited", "the next", "another"):  # what it has made already is as good as ever
            assert result_of(targets.echo, word) == word
        assert forkserver._forkserver_pid != old
        ours.send("x")
        assert ours.recv() == "xx"
        before.join()
        assert before.exitcode == 0


def is_at_rest(pid):
    """Say whether a process waits, and no SIGINT is on its way to it."""
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return lines["State"].startswith("S") and not int(lines["ShdPnd"], 16) & 1 << signal.SIGINT - 1


def test_fork_server_ignores_ctrl_c_and_ends_with_its_client(capfd):
    for number in range(3):
        assert result_of(targets.echo, number) == number
    pid = forkserver._forkserver_pid
    os.kill(pid, signal.SIGINT)
    for waiting in children_of(os.getpid()):  # the one that waits for a job, too
        os.kill(waiting, signal.SIGINT)
        eventually(lambda waiting=waiting: waiting == pid or is_at_rest(waiting))  # else it may come with the job
    assert result_of(targets.echo, 2) == 2
    assert not capfd.readouterr().err
    assert forkserver._forkserver_pid == pid
    forkserver._stop()
    eventually(lambda: not is_running(pid))


@pytest.mark.skipif(not _native.native, reason="needs the C core: only with it one is started early")
@pytest.mark.parametrize("make", ["Lock()", "Value('i')", "Queue()", "Event()"])
def test_fork_server_comes_up_with_the_first_object_for_its_children(make):
    text = f"""
import sys, polyproc
context = polyproc.get_context(sys.argv[1])
made = [context.{make} for _ in range(2)]
from polyproc._start.early_interpreter import early
print(*early._interpreters)
"""
    for method, expected in {"forkserver": "forkserver\n", "fork": "\n", "spawn": "\n"}.items():
        done = subprocess.run([sys.executable, "-c", text, method], capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)


def test_forked_child_gets_a_fork_server_of_its_own():
    assert result_of(targets.echo, 1) == 1
    process = polyproc.get_context("fork").Process(target=_fork_server_of_my_own)
    process.start()
    pid, result = process.result(30)
    assert result == "mine"
    assert pid != forkserver._forkserver_pid
    assert result_of(targets.echo, 2) == 2


def _fork_server_of_my_own():
    return result_and_pid("mine")


def result_and_pid(value):
    result = result_of(targets.echo, value)
    return forkserver._forkserver_pid, result


def test_two_clients_do_not_mix():
    other = ForkServer()
    try:
        other.ensure_running()
        assert result_of(targets.echo, 1) == 1
        assert other._forkserver_pid != forkserver._forkserver_pid
    finally:
        other._stop()
