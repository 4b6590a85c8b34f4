"""Programs run as their users run them: with odd flags, streams, limits and directories."""

import subprocess
import sys

import pytest

from conftest import PROGRAMS, run_program

RUN = f"{sys.executable} $flags {PROGRAMS / 'a_bit_of_all.py'} $out"
WAYS = {
    "bytes and warnings are errors": f"flags='-bb -W error'; {RUN}",
    "an encoding that is not said is an error": f"flags='-X warn_default_encoding -W error'; {RUN}",
    "development mode": f"flags='-X dev'; {RUN}",
    "optimized, isolated": f"flags='-OO -I'; {RUN}",
    "without streams": f"{RUN} <&- >&- 2>&-",
    "few descriptors, and one above the limit": f"exec 251>/dev/null; ulimit -n 60; {RUN}",
    "no directory": f"mkdir gone; cd gone; rmdir ../gone; {RUN}",
    "no environment": f"unset HOME TMPDIR LANG; PATH= {RUN}",
    "nothing may be written": f"umask 777; TMPDIR=/proc {RUN}",
    "children are reaped by the kernel": f"trap '' CHLD; {RUN}",
}
if sys.version_info >= (3, 15):
    WAYS["all imports are lazy"] = f"flags='-X lazy_imports=all'; {RUN}"


@pytest.mark.parametrize("way", WAYS)
def test_a_program_in_odd_surroundings(way, tmp_path):
    if way == "no directory":
        found = subprocess.run(
            ["bash", "-c", f"mkdir none; cd none; rmdir ../none; {sys.executable} -c 'import socket'"],
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
        )
        if found.returncode:  # CPython 3.13.0: SystemError
            pytest.skip("this interpreter cannot import the socket module there")
    out = tmp_path / "out"
    command = ["bash", "-c", f"out={out}; touch $out; {WAYS[way]}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    lines = [f"{method} 0 [0, 2, 4] heard" for method in ("fork", "spawn", "forkserver")]
    assert out.read_text().splitlines() == [*lines, "a_bit_of_all.py"], done
    assert (done.returncode, done.stderr) == (0, "")


def test_many_threads_use_it_first():
    for _ in range(5):
        done = run_program("first_use_in_threads.py")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
