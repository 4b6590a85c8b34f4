"""What the tests of behaviour have in common."""

import sys

import pytest

import polyproc
from conftest import PROGRAMS, eventually
from support import loops


@pytest.fixture(params=["asyncio", "trio"])
def run(request):
    """Runs a coroutine function in a loop of one of the two; no thread is left after."""
    if request.param == "trio" and loops.trio is None:
        pytest.skip("trio is not installed")
    yield loops.run_asyncio if request.param == "asyncio" else loops.trio.run
    eventually(loops.no_threads)


def two_hosts(**options):
    """Yield a context with two nodes; its agents, its server of objects, and the descriptors that stay are there."""
    with polyproc.get_context("command", hosts=["one", "two"], **options) as context:
        context.cpu_count()
        context.Event()
        yield context


@pytest.fixture(scope="module")
def hosts():
    """A context with two nodes."""
    yield from two_hosts()


@pytest.fixture(scope="module")
def hosts_elsewhere():
    """A context with two nodes on a host that is another than this one, as far as they can see."""
    yield from two_hosts(command=[sys.executable, str(PROGRAMS / "far_agent.py")], local="fork")


@pytest.fixture(scope="module", params=["hosts", "hosts_elsewhere"])
def hosts_here_and_elsewhere(request):
    """The one and the other."""
    return request.getfixturevalue(request.param)
