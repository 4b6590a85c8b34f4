"""Every way to start a program, with and without a guard."""

import os
import pty
import subprocess
import sys
import time
import zipfile

import pytest

from conftest import PROGRAMS, run_program

MAINS = (PROGRAMS / "mains.py").read_text()
EXPECTED = "[3, 8, 10, 7, 5]\n"


def run(*args, **options):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=60, env=env, **options)


def check(done):
    assert (done.stdout, done.returncode) == (EXPECTED, 0), done.stderr


def test_script(method):
    check(run_program("mains.py", method))


def test_module(method, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "sibling.py").touch()
    (tmp_path / "package" / "module.py").write_text("from . import sibling\n" + MAINS)
    check(run("-m", "package.module", method, cwd=tmp_path))


def test_package_main(method, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(MAINS)
    check(run("-m", "package", method, cwd=tmp_path))


def test_directory_and_archive(method, tmp_path):
    (tmp_path / "__main__.py").write_text(MAINS)
    check(run(str(tmp_path), method))
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.write(tmp_path / "__main__.py", "__main__.py")
    check(run(str(tmp_path / "app.zip"), method))


def test_command_line_and_standard_input(method):
    check(run("-c", MAINS, method))
    check(run("-", method, input=MAINS))


def test_prompt(method):
    """A function typed at the prompt, in a pseudo-terminal."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "dumb", "PYTHON_BASIC_REPL": "1"}
    shell = subprocess.Popen([sys.executable, "-q", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    lines = f"import polyproc\ndef f(x): return x + 1\n\np = polyproc.get_context({method!r}).Process(target=f, args=(41,))\n"
    os.write(ours, (lines + "p.start()\nprint('result', p.result(30))\nexit()\n").encode())
    seen = b""
    deadline = time.monotonic() + 40
    while b"result 42" not in seen and time.monotonic() < deadline:
        try:
            seen += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    shell.kill()
    shell.wait()
    assert b"result 42" in seen, seen.decode()


def test_notebook(method):
    """A notebook's main has no file, and its functions change while it runs."""
    cell = f"""
import types, sys
namespace = types.ModuleType("__main__")
sys.modules["__main__"] = namespace
for source in ("import polyproc as mp", "def f(x): return x + 1", "p = mp.get_context({method!r}).Process(target=f, args=(1,))",
               "p.start(); print(p.result(30))", "def f(x): return x + 10", "p = mp.get_context({method!r}).Process(target=f, args=(1,))",
               "p.start(); print(p.result(30))"):
    exec(source, namespace.__dict__)
"""
    done = run("-c", cell)
    assert done.stdout == "2\n11\n", done.stderr


def test_no_guard_is_needed(method):
    done = run_program("guardless.py", method)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    tops = [line for line in lines if line.startswith("top")]
    works = [line.split() for line in lines if line.startswith("work")]
    assert len(tops) == len(set(tops))  # no process runs the top level twice
    assert sum(line.startswith("after") for line in lines) == 1
    assert sorted(w[1] for w in works) == ["0", "1", "2", "3"]
    assert len({w[2] for w in works}) == 4
    assert lines[-1] == "late 42"
    limit = {"fork": 1, "spawn": 6, "forkserver": 2}[method]
    assert 1 <= len(tops) <= limit


def test_no_guard_is_needed_for_a_pool(method):
    done = run_program("guardless_pool.py", method)
    assert (done.stdout, done.stderr) == ("[0, 1, 4, 9, 16]\n[0, -1, -2]\n", ""), done.stderr


@pytest.mark.parametrize(
    "flags", [["-I"], ["-E", "-s"], ["-O"], ["-OO", "-B"], ["-X", "utf8=1"], ["-W", "error"], ["-bb"]]
)
def test_child_has_the_parents_flags(flags):
    program = f"""
import sys; sys.path[:0] = {sys.path!r}
import polyproc
def flags(): return (tuple(sys.flags), sys.warnoptions, sys._xoptions)
p = polyproc.get_context("spawn").Process(target=flags); p.start()
assert p.result(30) == flags(), (p.result(), flags())
"""
    done = run(*flags, "-c", program)
    assert done.returncode == 0, done.stderr


BARE = """
import polyproc
context = polyproc.get_context(METHOD)
process = context.Process(target=int)
try:
    process.start()
except:
    print("caught", flush=True)
print("below", process.pid is None, flush=True)
if process.pid is not None:
    print(process.result(30))
"""


def test_a_bare_except_catches_the_end_of_an_import_in_the_child_which_does_its_job_all_the_same(method, tmp_path):
    (tmp_path / "program.py").write_text(BARE.replace("METHOD", repr(method)))
    done = run_program(tmp_path / "program.py")
    again = [] if method == "fork" else ["below True", "caught"]
    assert sorted(done.stdout.splitlines()) == sorted([*again, "0", "below False"]), done.stderr
