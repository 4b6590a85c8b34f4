"""Compare names, signatures and the texts of errors with the standard library's; print what is missing or different.

Exit status 1 if anything is.
"""

import ast
import concurrent.futures.process
import importlib
import inspect
import multiprocessing
import re
import sys
from pathlib import Path

import polyproc

PUBLIC_MODULES = [
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
    "managers.AcquirerProxy",
    "managers.BarrierProxy",
    "managers.ConditionProxy",
    "managers.DictProxy",
    "managers.EventProxy",
    "managers.IteratorProxy",
    "managers.ListProxy",
    "managers.NamespaceProxy",
    "managers.PoolProxy",
    "managers.SetProxy",
    "managers.ValueProxy",
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


# -- texts -----------------------------------------------------------------------------------------------------------

# Those that are not said here, by their beginning, with the reason.
INSIDE = "a part of how it works there"
ELSEWHERE = "another system's"
NOT_SAID = {
    # of what there is no more to complain of (docs/drop-in.md)
    "A SemLock created in a fork context": "it works here",
    "An attempt has been made to start a new process": "a guard is not needed here",
    "max_tasks_per_child is incompatible with": "it works here",
    "too many fds": "there is no such limit here",
    "fd too large": "there is no such limit here",
    "SharedMemoryManager has shut down": "its base says that of each manager here",
    "Already started SharedMemoryServer": "the same",
    "Unknown state": "the same",
    "shared memory name too long": "it is said of the line",
    "Unable to start server": "it says what the server says",
    **dict.fromkeys(
        ("module_names must be", "Protocol error, expected", "bad typecode (must"), "it is, made of pieces"
    ),
    "concurrent send_bytes() calls": ELSEWHERE,
    "shouldn't get here; expected KeyboardInterrupt": ELSEWHERE,
    "Should not get here": ELSEWHERE,
    "Cannot find name for new mmap": ELSEWHERE,
    "max_workers must be <=": ELSEWHERE,
    "forkserver start method not available": ELSEWHERE,
    "No support for sending fds": ELSEWHERE,
    "SCM_RIGHTS appears not to be available": ELSEWHERE,
    "cannot find name for semaphore": "nothing has a name here",
    **dict.fromkeys(
        (
            "operation on closed _ThreadWakeup",
            "https://github.com/python/cpython/issues/90622",
            "Processes cannot be fork()ed",
            "protocol constraint",
            "unexpected EOF",
            "should not get here",
            "Not at EOF?",
            "Too many ({0:n}) fds to send",
            "forkserver: waitpid returned unexpected pid",
            "Arena is unpicklable",
            "My pid (",
            "Id {0!s}",
            "Method_to_typeid",
            "Maxtasks",
            "Cannot have cache with result_hand",
            "Thread not in TERMINATE",
            "In unknown state",
            "Invalid data received",
            "received %d items of ancdata",
            "Len is",
            "Already have Listener",
            "noop should never be registered",
            "Reentrant call into",
            "ResourceTracker called reentrantly",
            "{} != len(msg)",
            "nbytes",
            "internal error: message too long",
            "malformed resource_tracker",
            "Cannot register",
            "resource_tracker: There appear to be",
            "unrecognized command",
            "_SHM_NAME_PREFIX too long",
            "Not forking",
            "response_digest",
        ),
        INSIDE,
    ),
}
FIELD = re.compile(r"%[-0-9.]*[a-zA-Z]|\{[^}]*\}")


def text_of(node):
    """Return a text as it stands in code, with its fields; "" for what is none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return text_of(node.left)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return text_of(node.func.value)
    return ""


def texts_of(file):
    """Yield what a module says in errors, assertions and warnings."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Raise):
            yield from map(text_of, node.exc.args if isinstance(node.exc, ast.Call) else ())
        elif isinstance(node, ast.Assert) and node.msg is not None:
            yield text_of(node.msg)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "warn":
            yield from map(text_of, node.args[:1])


def compare_texts():
    """Yield what the standard library says, and this library does not, though nothing above says why."""
    ours = "".join(file.read_text() for file in sorted(Path(polyproc.__file__).parent.rglob("*.py")))
    core = Path(__file__).resolve().parent.parent.parent / "csrc"
    ours += "".join(file.read_text().replace('\\"', '"') for file in sorted(core.rglob("*.[ch]")))
    theirs = sorted(Path(multiprocessing.__file__).parent.rglob("*.py"))
    for file in (*theirs, Path(concurrent.futures.process.__file__)):
        for text in texts_of(file):
            if not text.lstrip().startswith(tuple(NOT_SAID)):
                pieces = [piece.strip() for piece in FIELD.split(text)]
                if not all(piece in ours for piece in pieces if len(piece) > 3):
                    yield f"not said: {file.name}: {text!r}"


def main():
    """Compare."""
    wrong = list(compare_members("polyproc", multiprocessing, polyproc, multiprocessing.__all__))
    for door in PUBLIC_MODULES:
        theirs, ours = (importlib.import_module(f"{base}.{door}") for base in ("multiprocessing", "polyproc"))
        wrong += compare_members(door, theirs, ours, [name for name in theirs.__all__ if hasattr(theirs, name)])
    for place in CLASSES:
        door, _, name = place.rpartition(".")
        if not hasattr(importlib.import_module(f"multiprocessing.{door}"), name):
            continue  # of a later version
        theirs, ours = (getattr(sys.modules[f"{base}.{door}"], name) for base in ("multiprocessing", "polyproc"))
        wrong += compare_members(place, theirs, ours, [name for name in dir(theirs) if not name.startswith("_")])
    wrong += compare_members(
        "ProcessPoolExecutor",
        concurrent.futures.ProcessPoolExecutor,
        polyproc.ProcessPoolExecutor,
        [name for name in dir(concurrent.futures.ProcessPoolExecutor) if not name.startswith("_")],
    )
    wrong += compare_texts()
    wrong = sorted(set(wrong) - NOT_HERE)
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
