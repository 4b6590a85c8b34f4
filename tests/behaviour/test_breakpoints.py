"""breakpoint() in children: at a terminal, one at a time; and why not, where there is none."""

import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from conftest import PROGRAMS, plain_fork, run_program

PROMPT = "(Pdb) "


class Session:
    """A program that has a terminal of its own; somebody sits at it."""

    def __init__(self, *args):
        self.pid, self.fd = plain_fork(pty.fork)
        if self.pid == 0:
            try:
                os.execv(sys.executable, [sys.executable, str(PROGRAMS / "breaks.py"), *args])
            finally:
                os._exit(127)
        self.text = ""
        self.read_to = 0

    def read_until(self, what, timeout=60):
        """Read until `what` is written; return what stands before it and was not returned yet."""
        deadline = time.monotonic() + timeout
        while (found := self.text.find(what, self.read_to)) < 0:
            assert time.monotonic() < deadline, self.text
            if select.select([self.fd], [], [], 1.0)[0]:
                self.text += os.read(self.fd, 4096).decode()
        new, self.read_to = self.text[self.read_to : found], found + len(what)
        return new

    def say(self, line):
        os.write(self.fd, line.encode() + b"\n")

    def end(self):
        """Read to the end; return the exit code."""
        while True:
            try:
                if not os.read(self.fd, 4096):
                    break
            except OSError:  # how Linux tells the end
                break
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_children_are_debugged_at_the_terminal_one_at_a_time(method):
    session = Session(method, "work")
    seen = []
    for _ in range(3):
        told = session.read_until(PROMPT)
        seen += re.findall(r"-- (\w+)-\d", told)
        assert "here" in told
        session.say("p there, 'only'")
        shown = session.read_until(PROMPT)
        assert "'only')" in shown
        assert "-- " not in shown  # nobody else writes
        session.say("n")
        assert "printed" in session.read_until(PROMPT)  # or the next line, on 3.13: it stops at breakpoint() itself
        session.say("c")
    session.read_until("of a pool [71]")
    assert "results [11, 21]" in session.text
    assert len(seen) == 3
    assert session.end() == 0


def test_input_of_the_program_is_the_terminals_while_it_is_debugged():
    session = Session("fork", "ask")
    for answer in ("a", "b", "c"):
        session.read_until(PROMPT)
        session.say("p input('which? ')")
        session.read_until("which? ")
        session.say(answer)
        session.read_until(f"'{answer}'")
        session.read_until(PROMPT)
        session.say("c")
    session.read_until("of a pool [7]")
    assert session.end() == 0


def test_where_there_is_no_terminal_it_says_so(method):
    done = run_program("breaks.py", method, "work", stdin=subprocess.DEVNULL, start_new_session=True)
    assert done.returncode == 1
    assert re.search(r"RuntimeError: breakpoint\(\) in \w+-1 \(pid \d+\): this process has no terminal", done.stderr)


@pytest.mark.parametrize("value", ["0", "sys.exc_info"])
def test_another_debugger_that_is_asked_for_is_called(value):
    done = run_program("breaks.py", "fork", "ask", stdin=subprocess.DEVNULL, env={"PYTHONBREAKPOINT": value})
    assert "of a pool [7]" in done.stdout, done.stderr
