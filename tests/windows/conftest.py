"""Run by Python for Windows: a time limit for each test, and nothing is left of it."""

import faulthandler
import os
import time

import pytest

import polyproc

LIMIT = 100.0
BEGAN = time.monotonic()
SECONDS = float(os.environ.get("POLYPROC_TESTS_SECONDS", "inf"))


def pytest_runtest_setup(item):
    """Begin no test when the time for all is over."""
    if time.monotonic() - BEGAN > SECONDS:
        pytest.skip(f"*** NOT RUN: {SECONDS:.0f} s have passed ***")


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
