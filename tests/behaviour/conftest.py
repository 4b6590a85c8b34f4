"""What the tests of behaviour have in common."""

import pytest

from behaviour import loops
from conftest import eventually


@pytest.fixture(params=["asyncio", "trio"])
def run(request):
    """Runs a coroutine function in a loop of one of the two; no thread is left after."""
    if request.param == "trio" and loops.trio is None:
        pytest.skip("trio is not installed")
    yield loops.run_asyncio if request.param == "asyncio" else loops.trio.run
    eventually(loops.no_threads)
