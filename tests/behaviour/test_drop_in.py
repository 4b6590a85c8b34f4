"""Unmodified programs: `python -m polyproc run`, and `install()`."""

import os
import subprocess
import sys

import pytest

from conftest import PROGRAMS


def run(*words, **options):
    return subprocess.run(
        [sys.executable, "-W", "ignore", *words], capture_output=True, text=True, timeout=100, **options
    )


def test_a_program_prints_what_it_prints_with_the_standard_library(method):
    program = str(PROGRAMS / "fifty_lines.py")
    theirs = run(program, method)
    ours = run("-m", "polyproc", "run", program, method)
    assert (ours.stdout, ours.returncode, ours.stderr) == (theirs.stdout, 0, "")
    assert len(ours.stdout.splitlines()) == 7


def test_it_is_polyproc_there_and_in_children(method):
    done = run("-m", "polyproc", "run", str(PROGRAMS / "whose.py"), method, "-m", "--more")
    ours = ("polyproc", "polyproc")
    assert done.stdout == f"{ours} {ours} True __main__ {[method, '-m', '--more']}\n", done.stderr
    assert done.returncode == 7


def test_modules_and_packages(method, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text((PROGRAMS / "whose.py").read_text())
    (tmp_path / "single.py").write_text((PROGRAMS / "whose.py").read_text())
    for name in ("package", "single"):
        done = run("-m", "polyproc", "run", "-m", name, method, cwd=tmp_path)
        assert done.returncode == 7, done.stderr
        assert done.stdout.startswith("('polyproc', 'polyproc') ('polyproc', 'polyproc') True __main__")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "no/such/file.py"], "No such file or directory: 'no/such/file.py'"),
        (["run", "-m", "no_such_module"], "No module named no_such_module"),
        ([], "usage: python -m polyproc"),
        (["walk"], "invalid choice: 'walk'"),
    ],
)
def test_what_cannot_be_run(words, text):
    done = run("-m", "polyproc", *words)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_program_that_does_not_compile(tmp_path):
    (tmp_path / "wrong.py").write_text("def f(:\n")
    done = run("-m", "polyproc", "run", str(tmp_path / "wrong.py"))
    assert done.returncode == 2
    assert "invalid syntax" in done.stderr


def test_install_in_a_program():
    text = (
        "import multiprocessing.pool, concurrent.futures.process, polyproc; polyproc.install(); polyproc.install()\n"
        "import multiprocessing, multiprocessing.queues, concurrent.futures as f\n"
        "print(multiprocessing is polyproc, multiprocessing.queues is polyproc.queues)\n"
        "print(f.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('fork')).submit(divmod, 7, 2).result())\n"
        "try:\n"
        "    import multiprocessing.no_such_module\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    done = run("-c", text, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.stderr == ""
    assert done.stdout == "True True\n(3, 1)\nNo module named 'multiprocessing.no_such_module'\n"
