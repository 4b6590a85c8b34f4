"""The page of what CPython 3.14 broke says what becomes of each kind of program: with the standard library, here, and by fork."""

import re
import subprocess
import sys

import pytest

from conftest import PROGRAMS

FOLDER = PROGRAMS / "since_3_14"
PAGE = PROGRAMS.parent.parent / "docs" / "since-3.14.md"
ROWS = re.findall(
    r"^\| `(\w+\.py)` \| [^|]+ \| `?([^|`]+)`? \| `?([^|`]+)`? \| `?([^|`]+)`? \|$", PAGE.read_text(), re.MULTILINE
)
BEGIN = "import multiprocessing\n"


def outcome(text, name, *runner):
    """Run a program; return its last line of output, if it has ended well, and its errors."""
    if name == "no_file.py":
        program = ["-c", text]
    else:
        path = runner[0] / name
        path.write_text(text)
        program = [str(path)]
    done = subprocess.run([sys.executable, *runner[1:], *program], capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()[-1] if done.stdout and done.returncode == 0 else None, done.stderr


def test_the_page_has_each_program():
    assert sorted(name for name, *_ in ROWS) == sorted(path.name for path in FOLDER.glob("*.py"))


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the page is about 3.14 and later")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].removesuffix(".py"))
def test_a_program_does_what_the_page_says(row, tmp_path):
    name, standard, here, by_fork = (cell.strip() for cell in row)
    text = (FOLDER / name).read_text()
    forks = text.replace(BEGIN, f'{BEGIN}multiprocessing.set_start_method("fork")\n', 1)
    run = ("-m", "polyproc", "run")
    for said, found in (
        (standard, outcome(text, name, tmp_path)),
        (here, outcome(text, name, tmp_path, *run)),
        (by_fork, outcome(forks, name, tmp_path, *run)),
    ):
        line, errors = found
        assert said == line or (said.endswith("Error") and said in errors), (said, found)
