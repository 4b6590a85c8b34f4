"""What the tests that kill at random have in common."""

import os
import random

import pytest


@pytest.fixture
def chance():
    """A source of random numbers; its seed is printed, and POLYPROC_SEED repeats it."""
    seed = int(os.environ.get("POLYPROC_SEED", "0")) or random.randrange(2**32)
    print("POLYPROC_SEED =", seed)
    return random.Random(seed)
