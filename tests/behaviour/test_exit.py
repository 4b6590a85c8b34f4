"""Exit codes for every way to end; output that is flushed once; files; exit functions; threads."""

import os
import signal
import subprocess
import sys

import pytest

from conftest import run_program
from support import targets

CODES = [
    (targets.nothing, (), 0),
    (targets.raise_key_error, (), 1),
    (targets.exit_with, (None,), 0),
    (targets.exit_with, ("text",), 1),
    (targets.exit_with, (300,), 300 & 0xFF),
    (targets.exit_with, (-1,), 255),
    (targets.exit_with, (True,), 1),
    (targets.exit_with, ([1, 2],), 1),
    (targets.os_exit, (9,), 9),
    (targets.segfault, (), -signal.SIGSEGV),
    *((targets.kill_self, (int(s),), -s) for s in (signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGUSR1)),
]


@pytest.mark.parametrize(("target", "args", "code"), CODES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_exit_code(ctx, target, args, code):
    process = ctx.Process(target=target, args=args)
    process.start()
    process.join(30)
    assert process.exitcode == code


def test_streams_and_open_files_are_flushed(method, tmp_path):
    done = run_program("writes.py", method, str(tmp_path / "file"))
    assert (done.stdout, done.returncode) == ("parent\nchild without newline", 0), done.stderr
    assert (tmp_path / "file").read_text() == "unflushed by the child"
    assert (tmp_path / "file.parent").read_text() == "unflushed by the parent"


def test_exit_functions_of_the_child_run_and_those_of_the_parent_do_not(method):
    done = run_program("exit_functions.py", method)
    assert done.stdout.split("\n") == ["thread's", "child's", "parent's", ""], done.stderr


def test_parents_exit_joins_children_and_ends_daemons(method):
    done = run_program("exits_with_children.py", method)
    assert (done.stdout, done.returncode) == ("non-daemon is done\n", 0), done.stderr


def test_traceback_is_printed_once_with_the_name(ctx, capfd):
    process = ctx.Process(target=targets.raise_key_error, name="the culprit")
    process.start()
    process.join()
    error = capfd.readouterr().err
    assert error.count("KeyError: 'the key'") == 1
    assert error.startswith("Process the culprit:\nTraceback (most recent call last):")


def test_ctrl_c_leaves_nothing(method):
    command = [sys.executable, str(run_program.__globals__["PROGRAMS"] / "waits.py"), method]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    pids = [int(word) for word in program.stdout.readline().split()]
    os.killpg(program.pid, signal.SIGINT)
    program.communicate(timeout=30)
    assert program.returncode in (-signal.SIGINT, 1)
    from conftest import eventually, is_running

    eventually(lambda: not any(is_running(pid) for pid in pids))
