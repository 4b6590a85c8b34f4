"""Runners that hand tests and files out to processes: nose2 over pipes and over sockets, sqlfluff's linter."""

import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = """
import os, unittest
class Some(unittest.TestCase):
    def test_well(self): self.assertEqual(1, 1)
    def test_badly(self): self.assertEqual(1, 2)
    def test_skipped(self): self.skipTest("not now")
class Others(unittest.TestCase):
    def test_more(self): pass
"""
NOSE = "[unittest]\nplugins = nose2.plugins.mp\n[multiprocess]\nalways-on = true\nprocesses = 2\n"


def run(folder, *words):
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=folder)


def main():
    for more in ("", "bind_address = 127.0.0.1\n"):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "test_some.py").write_text(TESTS)
            Path(folder, "unittest.cfg").write_text(NOSE + more)
            done = run(folder, "nose2")
            lines = [line for line in done.stderr.splitlines() if line.startswith(("Ran 4", "FAILED", "FAIL:"))]
            print(done.returncode, *[line.partition(" in ")[0] for line in lines], sep="\n")  # and not in what time
    with tempfile.TemporaryDirectory() as folder:
        for n in range(4):
            Path(folder, f"f{n}.sql").write_text("SELECT a,b  from tbl where x=1\n" if n else "SELECT a (from\n")
        words = ("lint", ".", "--dialect", "ansi", "--processes", "2", "--disable-progress-bar")
        done = run(folder, "sqlfluff", *words)
        print(done.returncode, *sorted(done.stdout.splitlines()), sep="\n")


if __name__ == "__main__":
    main()
