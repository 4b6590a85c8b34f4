"""What the tests of behaviour have in common."""

import pytest

import polyproc
from conftest import eventually
from support import loops


@pytest.fixture(params=["asyncio", "trio"])
def run(request):
    """Runs a coroutine function in a loop of one of the two; no thread is left after."""
    if request.param == "trio" and loops.trio is None:
        pytest.skip("trio is not installed")
    yield loops.run_asyncio if request.param == "asyncio" else loops.trio.run
    eventually(loops.no_threads)


@pytest.fixture(scope="module")
def hosts():
    """A context with two nodes; its agents, its server of objects, and the descriptors that stay are there."""
    with polyproc.get_context("command", hosts=["one", "two"]) as context:
        context.cpu_count()
        context.Event()
        yield context
