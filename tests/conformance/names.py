"""Compare names and signatures with the standard library's; print what is missing or different. Exit 1 if anything is."""

import importlib
import inspect
import multiprocessing
import sys

import polyproc

DOORS = [
    "connection",
    "context",
    "dummy",
    "dummy.connection",
    "forkserver",
    "heap",
    "managers",
    "pool",
    "process",
    "queues",
    "reduction",
    "resource_sharer",
    "resource_tracker",
    "shared_memory",
    "sharedctypes",
    "spawn",
    "synchronize",
    "util",
]
CLASSES = [
    "process.BaseProcess",
    "context.BaseContext",
    "queues.Queue",
    "queues.JoinableQueue",
    "queues.SimpleQueue",
    "connection.Connection",
    "connection.Listener",
    "pool.Pool",
    "pool.ThreadPool",
    "pool.AsyncResult",
    "pool.IMapIterator",
    "managers.BaseManager",
    "managers.SyncManager",
    "managers.SharedMemoryManager",
    "managers.BaseProxy",
    "shared_memory.SharedMemory",
    "shared_memory.ShareableList",
    "synchronize.Lock",
    "synchronize.RLock",
    "synchronize.Semaphore",
    "synchronize.BoundedSemaphore",
    "synchronize.Condition",
    "synchronize.Event",
    "synchronize.Barrier",
    "util.Finalize",
    "reduction.ForkingPickler",
]


def parameters(value):
    """Return (name, kind, whether it has a default) of each parameter; None for what does not tell."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return None
    return [(p.name, p.kind, p.default is not p.empty) for p in signature.parameters.values() if p.name != "self"]


def difference(theirs, ours):
    """Say how a signature differs in a way that a caller could notice; None if it does not."""
    wanted, given = parameters(theirs), parameters(ours)
    if wanted is None or given is None:
        return None
    variable = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    if any(kind in variable for _, kind, _ in (*wanted, *given)):
        return None  # either takes whatever the other does
    accepted = {name: (kind, has_default) for name, kind, has_default in given}
    order = [name for name, kind, _ in given if kind is not inspect.Parameter.KEYWORD_ONLY]
    # `ctx` is always given to theirs by a context; ours can do without.
    for place, (name, kind, has_default) in enumerate(wanted):
        if name.startswith("_") or name == "ctx" or kind is inspect.Parameter.POSITIONAL_ONLY:
            continue
        if name not in accepted or (has_default and not accepted[name][1]):
            return f"{inspect.signature(theirs)} there, {inspect.signature(ours)} here"
        if kind is not inspect.Parameter.KEYWORD_ONLY and order[place : place + 1] != [name]:
            return f"{name} is elsewhere: {inspect.signature(theirs)} there, {inspect.signature(ours)} here"
    names = {name for name, _, _ in wanted}
    more = [name for name, kind, default in given if name not in names and not default]
    return f"it needs {more}" if more else None


def compare_members(label, theirs, ours, names):
    """Yield what is missing or different among members of a module or class."""
    for name in names:
        if not hasattr(ours, name):
            yield f"missing: {label}.{name}"
            continue
        there, here = getattr(theirs, name), getattr(ours, name)
        if isinstance(there, type) and isinstance(here, type) and not issubclass(there, BaseException):
            there, here = there.__init__, here.__init__
        if callable(there) and (told := difference(there, here)):
            yield f"{label}.{name}: {told}"


# Decided in docs/adr/0018: they prescribe how a fork server and a child's command line work.
NOT_HERE = {"missing: forkserver.connect_to_new_process", "missing: spawn._main"}


def main():
    """Compare."""
    wrong = list(compare_members("polyproc", multiprocessing, polyproc, multiprocessing.__all__))
    for door in DOORS:
        theirs, ours = (importlib.import_module(f"{base}.{door}") for base in ("multiprocessing", "polyproc"))
        wrong += compare_members(door, theirs, ours, [name for name in theirs.__all__ if hasattr(theirs, name)])
    for place in CLASSES:
        door, _, name = place.rpartition(".")
        theirs, ours = (getattr(sys.modules[f"{base}.{door}"], name) for base in ("multiprocessing", "polyproc"))
        wrong += compare_members(place, theirs, ours, [name for name in dir(theirs) if not name.startswith("_")])
    wrong = sorted(set(wrong) - NOT_HERE)
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
