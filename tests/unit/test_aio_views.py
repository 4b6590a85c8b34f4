"""`aio`: a class of its own for each kind of object, in which a type checker finds every method that the object has."""

import inspect

import pytest

import polyproc

# Of pools: what makes another view, or is told at once. Iterators are for `async for`.
NO_COROUTINES = {"Process", "options", "stats", "submit", "imap", "imap_unordered"}


def make(name):
    if name == "Barrier":
        return polyproc.Barrier(1)
    return polyproc.Pipe()[0] if name == "Pipe" else getattr(polyproc, name)()


def methods_of(kind):
    """Return the names of a class's public methods."""
    return {name for name in dir(kind) if name[0] != "_" and callable(getattr(kind, name))}


@pytest.mark.parametrize(
    "name",
    [
        "Lock",
        "RLock",
        "Semaphore",
        "BoundedSemaphore",
        "Condition",
        "Event",
        "Barrier",
        "Queue",
        "JoinableQueue",
        "SimpleQueue",
        "Pipe",
        "Process",
    ],
)
def test_a_view_defines_a_coroutine_for_each_method(name):
    made = make(name)
    view = type(made.aio)
    missing = methods_of(type(made)) - set(dir(view))
    assert missing <= {"run", "fileno"}  # that one is the child's, that one never waits
    for method in methods_of(view):
        assert inspect.iscoroutinefunction(getattr(view, method)), method


def test_a_pools_view_and_its_results_do():
    with polyproc.Pool(1) as pool:
        result = pool.apply_async(abs, (-3,))
        assert methods_of(type(pool)) - set(dir(type(pool.aio))) <= NO_COROUTINES
        assert methods_of(type(result)) - {"settle"} <= set(dir(type(result.aio)))
        assert result.get(60) == 3
    pool.join()


def test_a_subclass_that_adds_a_method_has_its_coroutine_too():
    class Flag(type(polyproc.Event())):
        def says(self):
            return "so"

    call = Flag().aio.says()
    with pytest.raises(StopIteration) as told:
        call.send(None)
    assert told.value.value == "so"
