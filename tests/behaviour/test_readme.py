"""What the README shows runs as it is printed there, and prints what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import polyproc

README = Path(__file__).resolve().parents[2] / "README.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
PRINTS = [
    "hello Robert\n6\n",
    "True True\n",
    "['ONE', 'TWO'] ONE MORE\n<p>7</p>\n[0.3, 0.5, 0.5]\n",
    "6\n",
]
LOCK = 1  # the snippet that kills an owner


def run(*args):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=60, env=env)


def test_all_snippets_are_here():
    assert len(SNIPPETS) == len(PRINTS)


@pytest.mark.parametrize("number", range(len(PRINTS)))
def test_a_snippet_runs_as_printed(number, tmp_path):
    if number == LOCK and not polyproc.native:
        pytest.skip("in pure Python a lock whose owner was killed stays locked: see README")
    (tmp_path / "program.py").write_text(SNIPPETS[number])
    done = run(str(tmp_path / "program.py"))
    assert (done.stdout, done.returncode) == (PRINTS[number], 0), done.stderr
    assert "Error" not in done.stderr, done.stderr


def test_they_run_with_every_start_method(method, tmp_path):
    first = f"import polyproc\npolyproc.set_start_method({method!r})\n"
    (tmp_path / "program.py").write_text(first + SNIPPETS[0] + SNIPPETS[2] + SNIPPETS[3])
    done = run(str(tmp_path / "program.py"))
    assert (done.stdout, done.returncode) == (PRINTS[0] + PRINTS[2] + PRINTS[3], 0), done.stderr


def test_they_run_in_a_notebooks_cells(tmp_path):
    program = "import sys, types\nsys.modules['__main__'] = main = types.ModuleType('__main__')\n"
    cells = [number for number in range(len(PRINTS)) if number != LOCK]
    program += "".join(f"exec({SNIPPETS[number]!r}, vars(main))\n" for number in cells)
    (tmp_path / "program.py").write_text(program)
    done = run(str(tmp_path / "program.py"))
    assert (done.stdout, done.returncode) == ("".join(PRINTS[number] for number in cells), 0), done.stderr
