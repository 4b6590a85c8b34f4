"""A process's life as its parent sees it, under each start method."""

import contextlib
import os
import re
import signal
import sys
import threading
import time

import pytest

import polyproc
from conftest import METHODS, eventually, is_running, run_program
from polyproc._platform.handles import has_pidfds
from polyproc._start import child as popen
from support import targets


def test_target_gets_its_arguments_and_ends_with_zero(ctx):
    process = ctx.Process(target=targets.add, args=(1,), kwargs={"b": 2})
    assert (process.pid, process.exitcode, process.is_alive()) == (None, None, False)
    process.start()
    process.join()
    assert (process.exitcode, process.is_alive(), process.result()) == (0, False, 3)


def test_child_knows_itself_and_its_parent(ctx, method):
    process = ctx.Process(target=targets.who, name="the child")
    process.start()
    name, pid, real_pid, ppid, parent_pid, parent_name, alive, authkey = process.result(30)
    assert (name, pid, real_pid) == ("the child", process.pid, process.pid)
    assert (parent_pid, parent_name, alive) == (os.getpid(), "MainProcess", True)
    if method != "forkserver" or polyproc.native:  # without the C core a fork server makes children of its own
        assert ppid == os.getpid()
    assert authkey == polyproc.current_process().authkey


def test_subclass_overrides_run(ctx):
    process = targets.Worker(21)
    process._Popen = ctx.Process._Popen
    process.start()
    assert process.result(30) == 42


def test_sentinel_is_ready_at_the_end(ctx):
    process = ctx.Process(target=targets.sleep)
    with pytest.raises(ValueError, match="process not started"):
        _ = process.sentinel
    process.start()
    assert polyproc.connection.wait([process.sentinel], 0) == []
    process.kill()
    assert polyproc.connection.wait([process.sentinel], 20) == [process.sentinel]
    process.join()


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_signal_ends_it(ctx, how):
    process = ctx.Process(target=targets.sleep)
    process.start()
    getattr(process, how)()
    process.join(20)
    assert process.exitcode == -{"terminate": signal.SIGTERM, "kill": signal.SIGKILL}[how]
    getattr(process, how)()  # once more does nothing


def test_interrupt_is_a_keyboard_interrupt(ctx):
    ours, theirs = ctx.Pipe()
    with ours, theirs:
        process = ctx.Process(target=targets.start_sleeper_tree, args=(theirs, 0))
        process.start()
        assert ours.recv() == process.pid
        process.interrupt()
        assert isinstance(process.exception(20), KeyboardInterrupt)
    assert process.exitcode == -signal.SIGINT


def test_join_waits_at_most_its_timeout(ctx):
    process = ctx.Process(target=targets.sleep)
    process.start()
    process.join(0)
    process.join(-1)
    process.join(0.01)
    assert process.is_alive()
    process.join(1e-9)
    process.kill()
    process.join(10**9)  # more than poll(2) can wait for at once
    assert process.exitcode == -9


def test_many_threads_may_join_at_once(ctx):
    process = ctx.Process(target=targets.sleep)
    process.start()
    threads = [threading.Thread(target=process.join, args=(t,)) for t in (None, None, 30, 30)]
    for thread in threads:
        thread.start()
    process.kill()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert process.exitcode == -9


def test_active_children_reaps(ctx):
    process = ctx.Process(target=targets.nothing)
    process.start()
    assert process in polyproc.active_children() or process.exitcode is not None
    eventually(lambda: process not in polyproc.active_children())
    assert process.exitcode == 0


def test_close_gives_back_and_forbids(ctx):
    process = ctx.Process(target=targets.sleep)
    process.start()
    with pytest.raises(ValueError, match="Cannot close a process while it is still running"):
        process.close()
    process.kill()
    process.join()
    process.close()
    process.close()
    for call in (process.join, process.is_alive, process.terminate, process.start, lambda: process.exitcode):
        with pytest.raises(ValueError, match="process object is closed"):
            call()
    assert "closed" in repr(process)


def test_wrong_calls_say_what_the_standard_library_says(ctx):
    process = ctx.Process(target=targets.nothing)
    with pytest.raises(AssertionError, match="can only join a started process"):
        process.join()
    process.start()
    with pytest.raises(AssertionError, match="cannot start a process twice"):
        process.start()
    with pytest.raises(AssertionError, match="process has already started"):
        process.daemon = True
    process.join()
    with pytest.raises(AssertionError, match="group argument must be None for now"):
        ctx.Process(group=1)
    with pytest.raises(AssertionError, match="name must be a string"):
        process.name = 3


def test_names_number_the_children(ctx):
    first, second = ctx.Process(), ctx.Process()
    assert first.name.rpartition("-")[0] == type(first).__name__
    assert int(second.name.rpartition("-")[2]) == int(first.name.rpartition("-")[2]) + 1


def test_repr_shows_the_state(ctx):
    process = ctx.Process(target=targets.kill_self, args=(signal.SIGKILL,), daemon=True)
    assert "initial" in repr(process)
    process.start()
    process.join()
    assert repr(process).endswith(f"pid={process.pid} parent={os.getpid()} stopped exitcode=-SIGKILL daemon>")


def test_start_method_goes_on_in_the_child(ctx, method):
    process = ctx.Process(target=targets.start_grandchild, args=("deep",))
    process.start()
    assert process.result(60) == (method, "deep")


def test_daemon_may_not_have_children(ctx):
    process = ctx.Process(target=targets.start_grandchild, args=(1,), daemon=True)
    process.start()
    with pytest.raises(AssertionError, match="daemonic processes are not allowed to have children"):
        process.result(30)


def test_stop_goes_step_by_step_to_sigkill_of_the_tree(ctx):
    ours, theirs = ctx.Pipe()
    with ours, theirs:
        process = ctx.Process(target=targets.ignore_signals, args=(theirs,))
        process.start()
        assert ours.recv() == process.pid
    assert process.stop(grace=0.2) == -signal.SIGKILL
    quick = ctx.Process(target=targets.nothing)
    quick.start()
    quick.join()
    assert quick.stop() == 0


def test_stop_reaches_descendants_and_the_stopped(ctx):
    ours, theirs = ctx.Pipe()
    with ours, theirs:
        process = ctx.Process(target=targets.start_sleeper_tree, args=(theirs, 2))
        process.start()
        pids = {ours.recv() for _ in range(3)}
        assert process.pid in pids
        os.kill(process.pid, signal.SIGSTOP)
        process.stop(grace=0.0)
    eventually(lambda: not any(is_running(pid) for pid in pids))


def test_stop_reaches_the_descendants_of_one_that_ends_politely(ctx):
    """A child that SIGTERM ends can tell nobody whom it had started."""
    ours, theirs = ctx.Pipe()
    with ours, theirs:
        process = ctx.Process(target=targets.start_sleeper_tree, args=(theirs, 2, True))
        process.start()
        pids = {ours.recv() for _ in range(3)}
        assert process.stop(grace=2.0) == -signal.SIGTERM
    eventually(lambda: not any(is_running(pid) for pid in pids))


def test_exit_code_is_known_although_somebody_else_reaped(method):
    ctx = polyproc.get_context(method)
    process = ctx.Process(target=targets.exit_with, args=(7,))
    process.start()
    eventually(lambda: polyproc.connection.wait([process.sentinel], 0))
    try:
        os.waitpid(process.pid, 0)
    except ChildProcessError:
        pass
    process.join(20)
    assert process.exitcode == 7


def test_set_executable_takes_what_the_standard_library_takes():
    from pathlib import Path

    ctx = polyproc.get_context("spawn")
    try:
        for path in (sys.executable, os.fsencode(sys.executable), Path(sys.executable)):
            polyproc.set_executable(path)
            process = ctx.Process(target=targets.echo, args=(1,))
            process.start()
            assert process.result(30) == 1
    finally:
        polyproc.set_executable(sys.executable)


def test_a_refused_signal_is_told_unless_the_child_has_ended(method, monkeypatch):
    """As one that has another user's rights refuses it."""

    def refuse(*_):
        raise PermissionError

    ctx = polyproc.get_context(method)
    ended, runs = ctx.Process(target=targets.nothing), ctx.Process(target=signal.pause)
    for process in (ended, runs):
        process.start()
    eventually(lambda: polyproc.connection.wait([ended.sentinel], 0))
    with monkeypatch.context() as patch:
        patch.setattr(popen, "send_signal", refuse)
        ended.kill()
        with pytest.raises(PermissionError):
            runs.kill()
    assert ended.exitcode == 0
    runs.kill()
    runs.join()


@pytest.mark.parametrize("attempt", range(3))
def test_the_first_starts_may_be_made_by_several_threads_at_once(method, attempt):
    """What each start uses is made at the first: by one of them, or by each for itself."""
    done = run_program("first_starts.py", method)
    assert done.stdout == f"{[0] * 8}\n", done.stderr


def leave_at_once(code):
    os._exit(code)


def reap_any(signum, frame):
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@pytest.fixture(params=["nobody", "a handler"])
def others_reap(request, monkeypatch):
    """Children are reaped as they end, by a handler, or by the kernel as nobody wants to; their parent is slow to look."""
    if not has_pidfds() or tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (6, 15):
        pytest.skip("the kernel does not tell the exit code of who was reaped")
    look = popen.open_pidfd
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN if request.param == "nobody" else reap_any)
    try:
        monkeypatch.setattr(popen, "open_pidfd", lambda pid: time.sleep(0.03) or look(pid))
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("kind", [*METHODS, "spare"])
def test_the_exit_code_of_who_leaves_at_once_and_is_reaped_by_others(others_reap, kind):
    ctx = polyproc.get_context("spawn", preload=[]) if kind == "spare" else polyproc.get_context(kind)
    process = ctx.Process(target=leave_at_once, args=(3,))
    process.start()
    process.join(20)
    assert process.exitcode == 3
    with ctx.Pool(1) as pool, pytest.raises(polyproc.ProcessDied) as raised:
        pool.apply(leave_at_once, (4,))
    assert raised.value.exitcode == 4
    if kind == "spare":
        ctx.Process._launcher.stop()
