"""Run by Python for Windows: a time limit for each test, and nothing is left of it."""

import faulthandler
import time

import pytest

import polyproc

LIMIT = 60.0
PYTHON = "python.exe"


@pytest.fixture(autouse=True)
def time_limit():
    """End the whole run, with every thread's stack, when a test hangs."""
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def no_child_is_left():
    """Fail a test that leaves a child."""
    yield
    deadline = time.monotonic() + 20
    while left := polyproc.active_children():
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
