"""Through how many files one reads to follow a start, and a lock to a child; a pool's call is in test_pool_ends.py."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parent.parent / "programs" / "walks_start.py"


def walks(method):
    done = subprocess.run([sys.executable, PROGRAM, method], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_start_by_fork_is_followed_through_few_files():
    assert 1 <= len(walks("fork")["start"]) <= 8


def test_a_lock_to_a_child_is_followed_through_few_files():
    for method in ("spawn", "forkserver"):
        found = walks(method)["lock"]
        assert 1 <= len(found) <= 4, found
