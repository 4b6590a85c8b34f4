"""Unmodified programs: `python -m polyproc run`, and `install()`."""

import os
import py_compile
import re
import subprocess
import sys
import zipfile

import pytest

import polyproc
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
        ([], "usage: python -m polyproc"),
        (["walk"], "invalid choice: 'walk'"),
        (["run"], "usage: python -m polyproc run"),
        (["run", "-m"], "Argument expected for the -m option"),
        (["run", "-x", "program.py"], "unknown option -x"),
    ],
)
def test_what_is_no_command_is_said(words, text):
    done = run("-m", "polyproc", *words)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_is_told():
    assert run("-m", "polyproc", "--version").stdout == f"polyproc {polyproc.__version__}\n"


def said(words, **options):
    """What a program says, without what differs from run to run: addresses, and the random start of hashes."""
    done = run(*words, **options)
    return re.sub(r" at 0x[0-9a-f]+", "", done.stdout), re.sub(r" at 0x[0-9a-f]+", "", done.stderr), done.returncode


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A program in every form that python runs."""
    folder = tmp_path_factory.mktemp("programs")
    text = (PROGRAMS / "looks_at_its_start.py").read_text()
    (folder / "file.py").write_text(text)
    (folder / "link.py").symlink_to("deep/file.py")
    for package in ("package", "deep"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("")
        (folder / package / "__main__.py").write_text(text)
        (folder / package / "file.py").write_text(text)
    py_compile.compile(str(folder / "file.py"), cfile=str(folder / "compiled.pyc"))
    with zipfile.ZipFile(folder / "archive.pyz", "w") as archive:
        archive.writestr("__main__.py", text)
    (folder / "wrong.py").write_text("x = 1\ndef f(:\n")
    (folder / "empty.pyc").write_bytes(b"no code at all, certainly")
    return folder


FORMS = ["file.py", "./package/file.py", "link.py", "compiled.pyc", "package", "./deep/", "archive.pyz", "-m file"]
FORMS += ["-m package", "-m package.file", "-", "-c"]
NONE = ["wrong.py", "missing.py", "-m missing", "-m package.missing", "empty.pyc", "-m wrong"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("flags", [[], ["-P"], ["-I", "-X", "mine=1"]], ids=" ".join)
def test_a_program_finds_all_as_under_python(programs, form, flags):
    words, options = form.split(), {"cwd": programs}
    if form == "-":
        options["input"] = (programs / "file.py").read_text()
    if form == "-c":
        words.append((programs / "file.py").read_text())
    if flags and form.startswith("-m"):
        options["env"] = {**os.environ, "PYTHONPATH": str(programs)}  # which the first does, and -I does not look at
    theirs = said([*flags, *words, "one", "-m", "--two"], **options)
    assert said([*flags, "-m", "polyproc", "run", *words, "one", "-m", "--two"], **options) == theirs
    assert theirs[2] == 1  # it was run to its end, or python could not find it under these flags


@pytest.mark.parametrize("form", NONE)
def test_what_cannot_be_run_is_told_as_python_tells_it(programs, form):
    theirs = said(form.split(), cwd=programs)
    assert said(["-m", "polyproc", "run", *form.split()], cwd=programs) == theirs
    assert theirs[2] != 0


ENDS = ["", "raise SystemExit", "raise SystemExit(3)", "import sys; sys.exit('text')", "raise KeyboardInterrupt", "1/0"]
ENDS += ["import sys; sys.excepthook = lambda *a: print('hook', a[2].tb_next); 1/0", "import os; os.abort()"]
ENDS += [
    "try:\n    1/0\nexcept ZeroDivisionError:\n    raise KeyError(2)",
    "import atexit; atexit.register(print, 2); 1/0",
]


@pytest.mark.parametrize("text", ENDS)
def test_a_program_ends_as_under_python(tmp_path, text):
    (tmp_path / "ends.py").write_text(text)
    assert said(["-m", "polyproc", "run", "ends.py"], cwd=tmp_path) == said(["ends.py"], cwd=tmp_path)


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
