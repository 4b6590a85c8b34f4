"""A copy of the package whose core could not be built, as setup.py leaves it: that is said once, at import, with how to have it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import polyproc
from conftest import needs

pytestmark = needs("the C core")  # elsewhere it is not missed
ERROR = "pp_lock.c:3:10: fatal error: Python.h: No such file or directory"
PACKAGE = Path(polyproc.__file__).parent

STARTS = """
import polyproc

def work(queue):
    import polyproc.pool, polyproc.connection
    queue.put(bool(polyproc.native))

if __name__ == "__main__":
    for method in ("spawn", "forkserver", "fork"):
        context = polyproc.get_context(method)
        queue = context.SimpleQueue()
        child = context.Process(target=work, args=(queue,))
        child.start()
        print(method, queue.get())
        child.join()
"""

STARTS_BY_SUBPROCESS = """
import subprocess, sys
import multiprocessing
subprocess.run([sys.executable, "-c", "import multiprocessing; print(multiprocessing.__name__)"])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the copy."""
    folder = tmp_path_factory.mktemp("without_core")
    shutil.copytree(PACKAGE, folder / "polyproc", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    (folder / "polyproc" / "_no_core.txt").write_text(ERROR)
    return folder


def run(folder, *words, native=None):
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("POLYPROC_NATIVE", None)
    if native is not None:
        env["POLYPROC_NATIVE"] = native
    return subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def test_importing_it_says_why_and_what_to_do(folder):
    done = run(folder, "-c", "import polyproc; print(polyproc.native.reason)")
    assert done.returncode == 0
    assert ERROR in done.stdout
    assert done.stderr.count("RuntimeWarning") == 1
    for word in (ERROR, "pure Python", "python3-dev", "pip install --force-reinstall", "POLYPROC_NATIVE=off"):
        assert word in done.stderr, word


def test_it_is_said_once_for_a_program_and_its_children(folder):
    (folder / "starts.py").write_text(STARTS)
    done = run(folder, "starts.py")
    assert done.stdout.split() == ["spawn", "False", "forkserver", "False", "fork", "False"]
    assert done.stderr.count("RuntimeWarning") == 1, done.stderr


def test_it_is_said_once_for_a_program_and_those_that_it_starts_by_other_means(folder):
    (folder / "starts_by_subprocess.py").write_text(STARTS_BY_SUBPROCESS)
    done = run(folder, "-m", "polyproc", "run", "starts_by_subprocess.py")
    assert done.stdout.split() == ["polyproc"]
    assert done.stderr.count("RuntimeWarning") == 1, done.stderr


def test_who_does_without_it_is_not_told(folder):
    done = run(folder, "-W", "error", "-c", "import polyproc; print(polyproc.native.reason)", native="off")
    assert (done.stdout, done.stderr) == ("POLYPROC_NATIVE=off\n", "")


def test_who_requires_it_gets_the_error_with_the_reason(folder):
    done = run(folder, "-c", "import polyproc", native="require")
    assert done.returncode == 1
    assert (
        f"ImportError: POLYPROC_NATIVE=require, but the C core could not be built when polyproc was installed: {ERROR}"
        in done.stderr
    )


def test_a_core_that_cannot_be_loaded_is_told_of_at_its_first_use(folder, tmp_path):
    shutil.copytree(folder / "polyproc", tmp_path / "polyproc")
    (tmp_path / "polyproc" / "_no_core.txt").unlink()
    (tmp_path / "polyproc" / "_core.abi3.so").write_bytes(b"of another system")
    done = run(tmp_path, "-c", "import polyproc; print(bool(polyproc.Lock()))")
    assert done.returncode == 0
    assert done.stderr.count("RuntimeWarning") == 1, done.stderr
    assert "_core.abi3.so" in done.stderr


def test_the_doctor_says_the_same(folder):
    done = run(folder, "-W", "ignore", "-m", "polyproc", "doctor")
    assert done.returncode == 1
    assert ERROR in done.stdout
    assert "pip install --force-reinstall" in done.stdout
