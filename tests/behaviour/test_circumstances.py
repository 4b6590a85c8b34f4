"""What a child inherits is what its parent has now, whoever made the child, and whenever."""

import pytest

from conftest import run_program
from polyproc._platform import circumstances


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver", "spare"])
def test_a_child_has_what_its_parent_has_now(method):
    done = run_program("circumstances.py", method)
    assert done.returncode == 0, done.stderr


def test_a_worker_that_comes_later_has_what_its_parent_has_now():
    done = run_program("later_worker.py")
    assert done.returncode == 0, done.stderr


def test_a_signal_that_the_c_library_ignores_until_there_is_a_thread_is_no_change():
    def told(ignored):
        return circumstances._without_librarys([b"\nUmask:\t0022", b"\nSigIgn:\t%016x" % ignored])

    assert told(0x181001000) == told(0x81001000) == told(0x1001000)
    assert told(0x181001000) != told(0x181000000)
