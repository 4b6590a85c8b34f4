"""System calls that an old kernel does not know, or a container's filter refuses: all works in another way."""

import errno
import os
import subprocess
import sys

import pytest

from conftest import PROGRAMS
from programs import refusing

METHODS = "fork,spawn,forkserver"
SHARING = "queues,memory,a_killed_owner,ends,pools"


def run(calls, error, *command):
    """Run a Python program while the kernel refuses these calls."""
    filtered = [sys.executable, str(PROGRAMS / "refusing.py"), str(error), ",".join(calls), sys.executable, *command]
    env = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    done = subprocess.run(filtered, capture_output=True, text=True, timeout=100, env=env)
    if "no filter can be set here" in done.stderr:
        pytest.skip("this system sets no filters")
    return done


def tour(calls, error, *arguments):
    done = run(calls, error, str(PROGRAMS / "tour.py"), *arguments)
    assert done.stderr == ""
    assert done.stdout.split(": all is well\n")[:-1] == arguments[0].split(",")


def known(error):
    """Return the calls whose refusal with this error leaves a C library that can start threads."""
    return [call for call in refusing.NUMBERS if (call, error) != ("clone3", errno.EPERM)]


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
def test_without_memfds(error):
    tour(["memfd_create"], error, "fork")
    tour(["memfd_create"], error, "spawn,forkserver", SHARING)


def test_memory_that_cannot_be_is_an_error_when_it_is_made():
    """In a file system it is reserved: what does not fit is refused, and is no fault of who writes there."""
    program = """if True:
        import polyproc
        try:
            polyproc.RawArray("B", 1 << 45)
        except OSError as error:
            print(error.errno)
    """
    done = run(["memfd_create"], errno.ENOSYS, "-c", program)
    assert (done.stdout, done.stderr) == (f"{errno.ENOSPC}\n", "")


def test_the_filter_refuses():
    """Else the tests above say nothing."""
    done = run(["memfd_create"], errno.EXDEV, "-c", "import os; os.memfd_create('a file')")
    assert "Invalid cross-device link" in done.stderr
