"""SIGKILL at every crash point of making a named segment (csrc/README.md): nothing of it is left."""

import os
import signal

import pytest

from conftest import eventually, run_program
from polyproc import _native

pytestmark = pytest.mark.skipif(
    not (_native.native and _native.native.core.CRASHPOINTS), reason="the C core was built without crash points"
)


@pytest.mark.parametrize(("point", "names"), [("named.made", []), ("named.told", ["pptest_dies"])])
def test_killed_maker_leaves_no_segment(point, names):
    done = run_program("dies_making_segment.py", point, *names)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # The program's end is the end of its pipes: of the tracker, too, which says what it has removed.
    assert ("leaked" in done.stderr) == (point == "named.made"), done.stderr
    eventually(lambda: not os.path.exists("/dev/shm/pptest_dies"))
