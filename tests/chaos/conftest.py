"""What the tests that kill at random have in common."""

import os
import random
import zlib

import pytest


@pytest.fixture
def chance(request):
    """A source of random numbers; its seed is printed, and POLYPROC_SEED repeats it.

    A test has the same each time, so that a change is blamed for its own alone; `make chaos` has new ones.
    """
    seed = int(os.environ.get("POLYPROC_SEED", "0")) or (
        random.randrange(2**32)
        if os.environ.get("POLYPROC_SEEDS") == "new"
        else zlib.crc32(request.node.nodeid.encode())
    )
    print("POLYPROC_SEED =", seed)
    return random.Random(seed)
