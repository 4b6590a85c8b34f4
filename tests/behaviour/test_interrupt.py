"""Ctrl-C, at a terminal or sent to all: everything ends, and one traceback tells of it."""

import os
import pty
import re
import select
import signal
import sys
import time

import pytest

import polyproc
from conftest import PROGRAMS, eventually, is_running, plain_fork, run_program
from polyproc._base.process_state import process_state
from polyproc._platform.handles import children_of
from support import targets

WAYS = ("processes", "unjoined", "pool", "executor", "executor_without_with", "manager")
CASES = [*(("fork", way) for way in WAYS), ("spawn", "processes"), ("spawn", "executor"), ("spawn", "manager")]
CASES += [("forkserver", "processes"), ("forkserver", "unjoined"), ("forkserver", "pool")]


def session_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] == "Z" else int(words[3])


def members(session):
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and session_of(name) == session]


def run_until_interrupted(command, interrupt):
    """Run a program in a terminal until two work, interrupt it, and wait for the end of all; return code and output."""
    pid, terminal = plain_fork(pty.fork)
    if pid == 0:
        os.execv(command[0], command)
    output, code, deadline = b"", None, time.monotonic() + 40
    try:
        interrupted = False
        while code is None or members(pid):
            assert time.monotonic() < deadline, output.decode()
            if select.select([terminal], [], [], 0.01)[0]:
                try:
                    output += os.read(terminal, 65536)
                except OSError:  # all have closed the other side
                    pass
            if not interrupted and output.count(b"working") >= 2:
                time.sleep(0.02)  # so that they wait, and not only have said so: either must do
                interrupt(pid, terminal)
                interrupted = True
                deadline = time.monotonic() + 10
            if code is None:
                ended, status = os.waitpid(pid, os.WNOHANG)
                code = os.waitstatus_to_exitcode(status) if ended else None
        while select.select([terminal], [], [], 0)[0]:  # what they wrote at last
            try:
                output += os.read(terminal, 65536)
            except OSError:
                break
    finally:
        for left in members(pid):
            os.kill(left, signal.SIGKILL)
        if code is None:
            os.waitpid(pid, 0)
        os.close(terminal)
    return code, output.decode()


def by_key(pid, terminal):
    os.write(terminal, b"\x03")


def by_kill(pid, terminal):
    os.killpg(pid, signal.SIGINT)


@pytest.mark.parametrize(("method", "way"), CASES)
def test_ends_all_with_one_traceback(method, way):
    command = [sys.executable, str(PROGRAMS / "interrupted.py"), method, way]
    code, output = run_until_interrupted(command, by_kill if way == "unjoined" else by_key)
    assert (output.count("Traceback"), output.count("KeyboardInterrupt")) == (1, 1), output
    assert code == (0 if way == "unjoined" else -signal.SIGINT)  # at its exit the interpreter has done all but wait
    if way == "processes":
        assert re.findall("codes (.*)\r\n", output) == ["-2 -2"]


def test_of_a_child_alone_is_told_to_its_parent(ctx, capfd):
    process = ctx.Process(target=targets.sleep)
    process.start()
    eventually(lambda: process.interrupt() or process.exitcode is not None)
    assert process.exitcode == -signal.SIGINT
    assert isinstance(process.exception(), (KeyboardInterrupt, polyproc.ProcessDied))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("how", ["terminate", "interrupt"])
def test_a_stopped_child_can_be_ended(ctx, how):
    process = ctx.Process(target=targets.sleep)
    process.start()
    os.kill(process.pid, signal.SIGSTOP)
    getattr(process, how)()
    process.join(20)
    assert process.exitcode in (-signal.SIGTERM, -signal.SIGINT)


def test_who_was_started_and_forgotten_is_reaped(method):
    """By a thread, which ends with the last of them."""
    context = polyproc.get_context(method)
    for _ in range(30):
        context.Process(target=targets.nothing).start()
    eventually(lambda: not [pid for pid in children_of(os.getpid()) if not is_running(pid)])
    eventually(lambda: not process_state.children)


def test_one_that_another_thread_hears_breaks_off_nothing_behind_a_fork():
    done = run_program("interrupted_forks.py")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
