"""A spawned child skips work of its interpreter and of the import system, and nobody can tell."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import polyproc
from conftest import PROGRAMS
from support import light

SOURCE = str(Path(polyproc.__file__).parent.parent)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A virtual environment of its own, to put files into its site-packages."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "polyproc.pth").write_text(SOURCE + "\n")
    return folder / "bin" / "python", packages


def run_in(environment, program, *arguments):
    return subprocess.run([environment[0], program, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize(
    "file, text",
    [
        ("first.pth", "import sys; sys.loaded_by_pth = 'a line'\n"),
        ("first.pth", "# a comment\n\nimport sys; sys.loaded_by_pth = sys._getframe(1).f_locals['sitedir']\n"),
        ("sitecustomize.py", "import sys; sys.loaded_by_pth = __name__\n"),
    ],
)
def test_child_finds_what_site_does(environment, file, text, method):
    path = environment[1] / file
    path.write_text(text)
    try:
        done = run_in(environment, PROGRAMS / "siteless.py", method)
    finally:
        path.unlink()
    assert (done.stdout, done.stderr) == ("the same\n", "")


def test_failing_line_of_a_pth_file_is_told_and_does_not_stop_the_child(environment):
    path = environment[1] / "failing.pth"
    path.write_text("import sys; 1 / 0\n")
    try:
        done = run_in(environment, PROGRAMS / "siteless.py", "spawn")
    finally:
        path.unlink()
    assert done.stdout == "the same\n"
    assert done.stderr.count("failing.pth") >= 2  # once by site in the parent
    assert done.stderr.count("division by zero") >= 2


def test_line_of_setuptools_runs_at_the_first_import_that_it_is_about(environment):
    line = "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; import sys; sys.loaded_by_pth = 'late'\n"
    path = environment[1] / "distutils-precedence.pth"
    path.write_text(line)
    program = environment[1] / "program.py"
    program.write_text(
        "import logging, sys, polyproc\n"  # for which a finder of ours waits: it has gone then
        "def look():\n"
        "    before = hasattr(sys, 'loaded_by_pth')\n"
        "    try:\n"
        "        import setuptools\n"
        "    except ImportError:\n"
        "        pass\n"
        "    return before, sys.loaded_by_pth, len(sys.meta_path)\n"
        "if __name__ == '__main__':\n"
        "    p = polyproc.get_context('spawn').Process(target=look)\n"
        "    p.start()\n"
        "    print(p.result() == (not polyproc.native, 'late', len(sys.meta_path)))\n"
    )
    try:
        done = run_in(environment, program)
    finally:
        path.unlink()
        program.unlink()
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_module_of_the_target_is_as_the_import_system_makes_it(method):
    process = polyproc.get_context(method).Process(target=light.about_me)
    process.start()
    assert process.result(30) == light.about_me()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_module_that_was_changed_is_imported_as_it_is_now(method, tmp_path, monkeypatch):
    file = tmp_path / "changes.py"
    file.write_text("def value():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    changes = importlib.import_module("changes")
    ctx = polyproc.get_context(method)
    try:
        values = []
        for text in ("return 1", "return 'two'", "raise ValueError(3)"):
            file.write_text(f"def value():\n    {text}\n")
            process = ctx.Process(target=changes.value)
            process.start()
            values.append(repr(process.exception(30) or process.result()))
        assert values == ["1", "'two'", "ValueError(3)"]
        assert f'File "{file}", line 2, in value' in str(process.exception().__cause__)
        file.unlink()
        process = ctx.Process(target=changes.value)
        process.start()
        process.join()
        assert process.exitcode == 1
    finally:
        del sys.modules["changes"]


def test_descriptors_are_as_before_in_the_system_calls_of_a_child():
    from polyproc._base.modules import os as kernel

    assert kernel is os  # where os is loaded it is used: who replaces a function of it replaces ours
