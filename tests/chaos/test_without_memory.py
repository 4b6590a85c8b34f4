"""Every allocation of a process fails for a moment: nothing is lost, and nobody waits for ever."""

import importlib.util

import pytest

import polyproc
from conftest import run_program

pytestmark = pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None, reason="nothing makes allocations fail")


@pytest.mark.skipif(not polyproc.native, reason="that takes records of the core")
@pytest.mark.parametrize("how", ["get", "record", "set"])
def test_an_item_that_there_is_no_memory_for_is_got_next(how, chance):
    seed = chance.randrange(2**20)
    done = run_program("queue_lacks_memory.py", how, str(seed), "300", timeout=60)
    assert done.returncode == 0, (seed, done.stderr[-4000:])
    assert int(done.stdout) > 10
