"""An import that a child does in order to receive its job, or a task, starts no process: it would start them again."""

import os
import subprocess
import sys

import pytest

from conftest import eventually

# Each notes who imports it, and then starts processes that have to import it to know what to do.
BEGIN = """
import os, sys, threading
import polyproc
with open(os.environ["IMPORTS"], "a") as file: file.write(f"{os.getpid()}\\n")
context = polyproc.get_context(os.environ["METHOD"])
def f(x=0): return x + 1
class Thing: pass
"""
WAYS = {
    "process": "p = context.Process(target=f); p.start(); p.join(); print('code', p.exitcode)",
    "argument": "p = context.Process(target=print, args=(Thing(),)); p.start(); p.join(); print('code', p.exitcode)",
    "pool": "with context.Pool(2) as pool: print(pool.map(f, [1, 2]))",
    "initializer": "with context.Pool(2, f) as pool: print(pool.map(len, ['']))",
    "executor": "with polyproc.ProcessPoolExecutor(2, context) as pool: print(list(pool.map(f, [1, 2])))",
    "manager": "with context.Manager() as manager: manager.list().append(Thing())",
    "registered": """
from polyproc.managers import BaseManager
class Mine(BaseManager): pass
Mine.register("thing", Thing)
with Mine(ctx=context) as manager: manager.thing()
""",
    "task": """
@polyproc.task(context=context)
def g(): return 1
print(g().result())
""",
    "thread": """
def start():
    p = context.Process(target=f); p.start(); p.join(); print('code', p.exitcode)
thread = threading.Thread(target=start); thread.start(); thread.join()
""",
    "thread that stays in a worker": """
import time
def start():
    time.sleep(0.2)
    pool = context.Pool(1); pool.map(f, [1, 2]); pool.close(); pool.join()
threading.Thread(target=start).start()
""",
    "thread that stays": """
import time
def start():
    time.sleep(0.3)
    p = context.Process(target=f); p.start(); p.join(); print('code', p.exitcode)
threading.Thread(target=start).start()
""",
    "fork in between": """
def start():
    p = context.Process(target=f); p.start(); p.join(); print('code', p.exitcode)
p = polyproc.get_context("fork").Process(target=start); p.start(); p.join()
""",
}
HIDDEN = {"thread that stays in a worker", "thread that stays", "fork in between"}


def import_it(tmp_path, method, source, name="starter", program="import {}", before=BEGIN, **options):
    """Run a program that imports a module; return how it ended and who has imported the module."""
    file = tmp_path / f"{name.replace('.', '/')}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(before + source)
    imports = tmp_path / "imports"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    env |= {"IMPORTS": str(imports), "METHOD": method, **options}
    command = [sys.executable, "-c", program.format(name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, start_new_session=True)
    return done, imports.read_text().split()


def nobody_is_left(pids):
    eventually(lambda: not [pid for pid in pids if os.path.exists(f"/proc/{pid}")])


# From CPython 3.12 on, a thread that outlives the main one can start no other, and so no pool.
JOINING = """
import threading
for thread in threading.enumerate():
    if thread is not threading.main_thread() and not thread.daemon:
        thread.join()
"""
ALSO_BY_FORK_SERVER = ("process", "initializer", "executor", "manager", "thread")


@pytest.mark.parametrize(
    ("way", "method"), [*((way, "spawn") for way in WAYS), *((way, "forkserver") for way in ALSO_BY_FORK_SERVER)]
)
def test_starts_no_process_again(tmp_path, method, way):
    done, pids = import_it(tmp_path, method, WAYS[way], program="import {}" + JOINING)
    assert 2 <= len(pids) <= (9 if way in HIDDEN else 5), done.stderr
    assert "bootstrapping phase" in done.stderr
    assert "starts processes as it is imported" in done.stderr
    nobody_is_left(pids)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_starts_no_process_again_from_within_a_package(tmp_path, method):
    source = WAYS["pool"]
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("import importlib; importlib.import_module('.inner', __name__)\n")
    done, pids = import_it(tmp_path, method, source, "package.inner")
    assert (len(pids) <= 3, done.returncode) == (True, 1), done.stderr
    assert "the module 'package.inner' starts processes" in done.stderr
    nobody_is_left(pids)


def test_starts_no_process_again_as_the_fork_server_preloads_it(tmp_path):
    program = "import polyproc; polyproc.set_forkserver_preload(['{}']); context = polyproc.get_context('forkserver')\n"
    program += "p = context.Process(target=len, args=('abc',)); p.start(); print(p.result(30))"
    done, pids = import_it(tmp_path, "forkserver", WAYS["pool"], program=program)
    assert (done.stdout, done.returncode, len(pids)) == ("3\n", 0, 1), done.stderr
    assert "Failed to preload module 'starter'" in done.stderr
    assert "bootstrapping phase" in done.stderr


def test_starts_no_process_again_in_a_spare(tmp_path):
    program = "import polyproc; context = polyproc.get_context('spawn', preload=['{}'])\n"
    program += "for _ in range(2): p = context.Process(target=len, args=('abc',)); p.start(); print(p.result(30))"
    done, pids = import_it(tmp_path, "spawn", WAYS["process"], program=program)
    assert (done.stdout, done.returncode) == ("3\n3\n", 0), done.stderr
    assert len(pids) <= 3


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("way", ["process", "executor", "manager"])
def test_may_start_processes_when_what_a_child_runs_imports_it(tmp_path, method, way):
    """One generation more, as its own condition says."""
    source = "\n    ".join(["\nif int(sys.argv[1:] and sys.argv[1] or os.environ['LEVEL']):", *WAYS[way].splitlines()])
    (tmp_path / "runner.py").write_text(
        "import os\ndef run():\n    os.environ['LEVEL'] = '1'\n    import sys\n    sys.argv = ['']\n"
        "    try: import starter\n    except Exception as error: print(repr(error))\n    return 'starter' in sys.modules\n"
    )
    program = (
        "import polyproc, runner, os; context = polyproc.get_context(os.environ['METHOD'])\n"
        "p = context.Process(target=runner.run); p.start(); print(p.result(30))"
    )
    done, pids = import_it(tmp_path, method, source, program=program, LEVEL="0")
    assert len(pids) >= 2  # the child, and what it started
    assert "An attempt" in done.stderr or "An attempt" in done.stdout  # the import in what it started
    assert len(pids) <= 5
    nobody_is_left(pids)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_may_fork_while_a_child_receives_its_job(tmp_path, method):
    source = "p = polyproc.get_context('fork').Process(target=f); p.start(); p.join(); assert p.exitcode == 0\n"
    program = (
        "import polyproc, starter, os; context = polyproc.get_context(os.environ['METHOD'])\n"
        "p = context.Process(target=starter.f); p.start(); print(p.result(30))"
    )
    done, _ = import_it(tmp_path, method, source, program=program)
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


def test_a_worker_may_start_processes_in_what_it_runs(tmp_path, method):
    source = """
def nested(x):
    import importlib
    importlib.import_module("helper")
    with polyproc.get_context("spawn").Pool(1) as pool: return pool.map(f, [x])
"""
    (tmp_path / "helper.py").write_text(
        "import polyproc\np = polyproc.get_context('spawn').Process(target=len, args=('',)); p.start(); p.join()\n"
    )
    program = (
        "import polyproc, starter, os; context = polyproc.get_context(os.environ['METHOD'])\n"
        "with context.Pool(1) as pool: print(pool.map(starter.nested, [1]))\n"
        "with polyproc.ProcessPoolExecutor(1, context) as pool: print(pool.submit(starter.nested, 1).result())"
    )
    done, _ = import_it(tmp_path, method, source, program=program)
    assert (done.stdout, done.returncode) == ("[[2]]\n[2]\n", 0), done.stderr
