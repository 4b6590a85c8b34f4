"""What a program defines while its workers run: the newest runs in them, however the program is run."""

import os
import subprocess
import sys
import textwrap

from conftest import PROGRAMS

CELLS = (PROGRAMS / "cells.txt").read_text()


def run(*args, **options):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHON_BASIC_REPL": "1"}
    command = [sys.executable, "-W", "ignore:.*multi-threaded", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, **options)
    assert done.stdout.strip().endswith("all is well"), done.stderr
    return done


def cells(method):
    return CELLS.replace("METHOD", repr(method))


def test_at_a_prompt(method):
    done = run("-q", "-i", input=cells(method))
    assert "Error" not in done.stderr, done.stderr


def test_below_the_guard(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text('if __name__ == "__main__":\n' + textwrap.indent(cells(method), "    "))
    run(str(program))


def test_below_the_pool(method, tmp_path):
    (tmp_path / "program.py").write_text(cells(method))
    run("program.py", cwd=tmp_path)


def test_on_the_command_line():
    run("-c", cells("spawn"))
