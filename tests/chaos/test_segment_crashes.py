"""SIGKILL at every crash point of making a named segment (csrc/README.md): nothing of it is left."""

import os
import re
import signal

import pytest

from conftest import run_program
from polyproc._base import native as _native

pytestmark = pytest.mark.skipif(
    not (_native.native and _native.native.core.CRASHPOINTS), reason="the C core was built without crash points"
)


@pytest.mark.parametrize(("point", "names"), [("named.made", []), ("named.told", ["pptest_dies"])])
def test_killed_maker_leaves_no_segment(point, names):
    done = run_program("dies_making_segment.py", point, *names)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # The output ends when the tracker does, which says what it has removed.
    removed = re.findall(r"'/(\w+)'", done.stderr)
    assert (len(removed), "leaked" in done.stderr) == ((1, True) if point == "named.made" else (0, False)), done.stderr
    assert not any(os.path.exists(f"/dev/shm/{name}") for name in [*removed, "pptest_dies"])
