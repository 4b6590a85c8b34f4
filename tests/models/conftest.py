"""What the programs of random operations have in common: their seeds."""

import os
import random
import time

import pytest

SEED = 20260  # of the short run, so that it does the same each time


@pytest.fixture
def seed(request):
    """The seed of an episode; POLYPROC_SEED gives another."""
    chosen = os.environ.get("POLYPROC_SEED") or f"{SEED}"
    print("POLYPROC_SEED =", chosen)
    return chosen


@pytest.fixture
def seeds():
    """Seeds for as long as POLYPROC_CHAOS_SECONDS says, for a run of many episodes."""
    if "POLYPROC_CHAOS_SECONDS" not in os.environ:
        pytest.skip("POLYPROC_CHAOS_SECONDS says how long")
    return _seeds(time.monotonic() + float(os.environ["POLYPROC_CHAOS_SECONDS"]))


def _seeds(end):
    while time.monotonic() < end:
        chosen = os.environ.get("POLYPROC_SEED") or str(random.randrange(2**32))
        print("POLYPROC_SEED =", chosen, flush=True)
        yield chosen
