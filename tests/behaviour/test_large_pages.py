"""Pages of 16 and 64 KiB, as some machines have them: here a library between answers as their kernels do."""

import os
import shutil
import subprocess
import sys

import pytest

from conftest import PROGRAMS, run_program

SIZES = [16384, 65536]
SHARING = "queues,memory,pools"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The library to be loaded first."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no compiler to make it with")
    made = tmp_path_factory.mktemp("large_pages") / "large_pages.so"
    command = [compiler, "-shared", "-fPIC", "-O1", str(PROGRAMS / "large_pages.c"), "-o", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        pytest.skip(f"it cannot be made here: {done.stderr}")
    return made


def environment(library, size):
    return {"LD_PRELOAD": str(library), "PAGE": str(size), "PYTHONWARNINGS": "ignore::DeprecationWarning"}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("arguments", [["fork"], ["spawn,forkserver", SHARING]], ids=["fork", "others"])
def test_all_that_is_shared(library, size, arguments):
    done = run_program("tour.py", *arguments, env=environment(library, size))
    assert done.stderr == ""
    assert done.stdout.split(": all is well\n")[:-1] == arguments[0].split(",")


@pytest.mark.parametrize("size", SIZES)
def test_the_library_does_what_such_a_kernel_does(library, size):
    """Else the test above says nothing."""
    program = f"""if True:
        import mmap, os, resource
        assert {{mmap.PAGESIZE, mmap.ALLOCATIONGRANULARITY, resource.getpagesize(), os.sysconf("SC_PAGESIZE")}} == {{{size}}}
        fd = os.memfd_create("a file")
        os.ftruncate(fd, {4 * size})
        import ctypes
        c = ctypes.CDLL(None, use_errno=True)
        c.mmap.restype, c.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        c.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        there = c.mmap(None, {size}, 3, 1, fd, {size})
        assert there % {size} == 0
        assert c.mmap(None, {size}, 3, 1, fd, {size // 2}) == ctypes.c_void_p(-1).value
        assert ctypes.get_errno() == 22
        assert c.munmap(there + {size // 2}, {size // 2}) == -1
        assert c.munmap(there, 1) == 0
    """
    env = {**os.environ, **environment(library, size)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, env=env)
    assert (done.stderr, done.returncode) == ("", 0)
