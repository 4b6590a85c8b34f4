"""A Ctrl-C that comes in any phase of a remote context's life leaves nothing on any host."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import HAVE_PROC, PROGRAMS, eventually
from polyproc._platform.handles import pause

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not HAVE_PROC, reason="processes are found by /proc: NOT TESTED HERE"),
]

ROUNDS = int(os.environ.get("POLYPROC_KILLS", "16"))
IN_TIME = 30
MARK = "POLYPROC_MARK"


def processes_with(mark):
    """Return what runs with a variable in its environment, which all descendants have."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}\0".encode() in (path / "environ").read_bytes():
                found.append((int(path.name), (path / "cmdline").read_bytes().replace(b"\0", b" ")[:200]))
        except OSError:  # it has ended
            pass
    return found


def begin(mark):
    program = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "phases_of_hosts.py")],
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout.readline() == "working\n"
    return program


def ended(program):
    """Wait for its end; return its exit code and what it has written."""
    try:
        _, errors = program.communicate(timeout=IN_TIME)
    except subprocess.TimeoutExpired:
        program.send_signal(signal.SIGABRT)
        raise
    return program.returncode, errors


def test_broken_off_hosts_leave_nothing_in_any_phase():
    start = time.monotonic()
    program = begin("whole")
    code, errors = ended(program)
    assert code == 0, errors
    whole = time.monotonic() - start
    for number in range(ROUNDS):
        mark = f"{os.getpid()}-{number}"
        program = begin(mark)
        pause(whole * number / ROUNDS)
        program.send_signal(signal.SIGINT)
        code, errors = ended(program)
        assert code in (0, -signal.SIGINT), (number, code, errors)
        assert errors.count("Traceback") <= 1 + errors.count("During handling"), (number, errors)
        eventually(lambda mark=mark: not processes_with(mark))
