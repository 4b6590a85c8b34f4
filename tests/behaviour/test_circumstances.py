"""What a child inherits is what its parent has now, whoever made the child, and whenever."""

import pytest

from conftest import run_program


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver", "spare"])
def test_a_child_has_what_its_parent_has_now(method):
    done = run_program("circumstances.py", method)
    assert done.returncode == 0, done.stderr


def test_a_worker_that_comes_later_has_what_its_parent_has_now():
    done = run_program("later_worker.py")
    assert done.returncode == 0, done.stderr
