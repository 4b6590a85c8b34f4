"""What the README and the tour show runs as it is printed there, and prints what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import polyproc

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"readme": ROOT / "README.md", "tour": ROOT / "docs" / "tour.md"}
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^\n((?:    .*\n)+)", re.MULTILINE)


def snippets():
    """Return what the pages show, by a name: the code, and the indented lines that follow it as its output."""
    found = {}
    for name, path in PAGES.items():
        text = path.read_text()
        for number, match in enumerate(SNIPPET.finditer(text)):
            printed = OUTPUT.search(text, match.end()).group(1)
            found[f"{name} {number}"] = match.group(1), re.sub(r"^    ", "", printed, flags=re.MULTILINE)
    return found


SNIPPETS = snippets()
LOCK = "tour 1"  # the snippet that kills an owner


def run(*args):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=60, env=env)


def test_all_snippets_are_here():
    assert list(SNIPPETS) == ["readme 0", "tour 0", "tour 1", "tour 2", "tour 3"]
    assert "lock.recovered" in SNIPPETS[LOCK][0]


def test_the_readmes_first_snippet_is_ten_lines():
    assert len([line for line in SNIPPETS["readme 0"][0].splitlines() if line]) <= 10


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_runs_as_printed(name, tmp_path):
    if name == LOCK and not polyproc.native:
        pytest.skip("in pure Python a lock whose owner was killed stays locked: see README")
    code, printed = SNIPPETS[name]
    (tmp_path / "program.py").write_text(code)
    done = run(str(tmp_path / "program.py"))
    assert (done.stdout, done.returncode) == (printed, 0), done.stderr
    assert "Error" not in done.stderr, done.stderr


def without_the_lock():
    """Return the code of all snippets but one, and what they print."""
    chosen = [SNIPPETS[name] for name in SNIPPETS if name != LOCK]
    return [code for code, _ in chosen], "".join(printed for _, printed in chosen)


def test_they_run_with_every_start_method(method, tmp_path):
    codes, printed = without_the_lock()
    first = f"import polyproc\npolyproc.set_start_method({method!r})\n"
    (tmp_path / "program.py").write_text(first + "".join(codes))
    done = run(str(tmp_path / "program.py"))
    assert (done.stdout, done.returncode) == (printed, 0), done.stderr


def test_they_run_in_a_notebooks_cells(tmp_path):
    codes, printed = without_the_lock()
    program = "import sys, types\nsys.modules['__main__'] = main = types.ModuleType('__main__')\n"
    program += "".join(f"exec({code!r}, vars(main))\n" for code in codes)
    (tmp_path / "program.py").write_text(program)
    done = run(str(tmp_path / "program.py"))
    assert (done.stdout, done.returncode) == (printed, 0), done.stderr
