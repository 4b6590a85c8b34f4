"""Children that kill themselves at a crash point of the C core, for tests of what they leave."""

import signal
import time

import pytest

import polyproc
from polyproc._base import native as _native

pytestmark = [
    pytest.mark.skipif(
        not (_native.native and _native.native.core.CRASHPOINTS), reason="the C core was built without crash points"
    ),
    pytest.mark.filterwarnings("ignore::polyproc.OwnerDiedWarning"),
]
ctx = polyproc.get_context("fork")
SOON = 20.0  # far more than any tick


def die_at(point, act, *args):
    """Run `act` in a child that ends at the crash point; fail if it gets past it."""
    process = ctx.Process(target=_act, args=(point, act, args))
    process.start()
    return process


def _act(point, act, args):
    import polyproc._core as core

    core.crash_at(point)
    act(*args)


def killed(process):
    process.join(SOON)
    assert process.exitcode == -signal.SIGKILL, "it did not come to the crash point"


def helper(act, *args):
    process = ctx.Process(target=act, args=args)
    process.start()
    return process


def ended(process):
    process.join(SOON)
    assert process.exitcode == 0


def is_asleep(process):
    """Wait until a process waits in a futex, as the kernel says.

    One that is to die as it is woken may have died by then: its own tick wakes it, after 20 ms at first.
    """
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        with open(f"/proc/{process.pid}/wchan") as file:
            if "futex" in file.read() or process.exitcode == -signal.SIGKILL:
                return
        time.sleep(0.005)
    raise AssertionError("it does not wait")
