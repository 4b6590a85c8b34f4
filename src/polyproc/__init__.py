"""polyproc: Python's multiprocessing, made to survive.

`import polyproc as multiprocessing`: the names, signatures and meanings are the standard library's. This module
is a table; importing it loads no other module of ours, and each name is loaded when it is first used.
"""

from __future__ import annotations

import sys
from os import path as _path

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Final

    from polyproc._base.errors import AuthenticationError as AuthenticationError
    from polyproc._base.errors import BufferTooShort as BufferTooShort
    from polyproc._base.errors import OwnerDiedWarning as OwnerDiedWarning
    from polyproc._base.errors import ProcessDied as ProcessDied
    from polyproc._base.errors import ProcessError as ProcessError
    from polyproc._base.errors import RemoteError as RemoteError
    from polyproc._base.errors import TimeoutError as TimeoutError
    from polyproc._base.native import native as native
    from polyproc._context import default_context as _default
    from polyproc._memory.share import share as share
    from polyproc._pool.executor import ProcessPoolExecutor as ProcessPoolExecutor
    from polyproc._pool.future import Future as Future
    from polyproc._pool.task import task as task
    from polyproc._process.drop_in import install as install
    from polyproc._process.parent import parent_process as parent_process
    from polyproc._process.process import Process as Process
    from polyproc._process.process import active_children as active_children
    from polyproc._process.process import current_process as current_process

    Array: Final = _default.Array
    Barrier: Final = _default.Barrier
    BoundedSemaphore: Final = _default.BoundedSemaphore
    Condition: Final = _default.Condition
    Event: Final = _default.Event
    JoinableQueue: Final = _default.JoinableQueue
    Lock: Final = _default.Lock
    Manager: Final = _default.Manager
    Pipe: Final = _default.Pipe
    Pool: Final = _default.Pool
    Queue: Final = _default.Queue
    RawArray: Final = _default.RawArray
    RawValue: Final = _default.RawValue
    RLock: Final = _default.RLock
    Semaphore: Final = _default.Semaphore
    SimpleQueue: Final = _default.SimpleQueue
    allow_connection_pickling: Final = _default.allow_connection_pickling
    cpu_count: Final = _default.cpu_count
    freeze_support: Final = _default.freeze_support
    get_all_start_methods: Final = _default.get_all_start_methods
    get_context: Final = _default.get_context
    get_logger: Final = _default.get_logger
    get_start_method: Final = _default.get_start_method
    log_to_stderr: Final = _default.log_to_stderr
    set_executable: Final = _default.set_executable
    set_forkserver_preload: Final = _default.set_forkserver_preload
    set_start_method: Final = _default.set_start_method

if sys.platform == "win32":  # noqa: TID251  (before anything that differs there is loaded)
    __import__("polyproc._platform.windows_modules")

__version__ = "0.1.0"

# name -> (module, attribute): what is not bound to a start method.
_HOMES = {
    "SUBDEBUG": ("polyproc._base.process_state", "SUBDEBUG"),
    "SUBWARNING": ("polyproc._base.process_state", "SUBWARNING"),
    "OwnerDiedWarning": ("polyproc._base.errors", "OwnerDiedWarning"),
    "RemoteError": ("polyproc._base.errors", "RemoteError"),
    "share": ("polyproc._memory.share", "share"),
    "native": ("polyproc._base.native", "native"),
    "Future": ("polyproc._pool.future", "Future"),
    "install": ("polyproc._process.drop_in", "install"),
    "ProcessPoolExecutor": ("polyproc._pool.executor", "ProcessPoolExecutor"),
    "task": ("polyproc._pool.task", "task"),
}

# Bound to the default context, as in the standard library.
_OF_DEFAULT_CONTEXT = (
    "Array",
    "AuthenticationError",
    "BufferTooShort",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "ProcessDied",
    "ProcessError",
    "TimeoutError",
    "Value",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "log_to_stderr",
    "parent_process",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
)

# As in the standard library, `import polyproc` is enough for these.
_DOORS = (
    "abc",
    "connection",
    "context",
    "dummy",
    "forkserver",
    "heap",
    "managers",
    "pool",
    "popen_fork",
    "popen_forkserver",
    "popen_spawn_posix",
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
)

__all__ = [
    "Future",
    "OwnerDiedWarning",
    "ProcessPoolExecutor",
    "RemoteError",
    "install",
    "share",
    "task",
    *_OF_DEFAULT_CONTEXT,
]  # pyright: ignore


def __getattr__(name: str) -> object:
    if name in _HOMES:
        module, attribute = _HOMES[name]
        __import__(module)
        value = getattr(sys.modules[module], attribute)
    elif name in _OF_DEFAULT_CONTEXT:
        module = "polyproc._context"
        __import__(module)
        value = getattr(sys.modules[module].default_context, name)
    elif name in _DOORS:
        __import__(f"polyproc.{name}")
        return sys.modules[f"polyproc.{name}"]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_OF_DEFAULT_CONTEXT, *_DOORS})


if __spec__.loader_state is None and _path.exists(_path.join(__path__[0], "_no_core.txt")):
    __import__("polyproc._base.native")  # which says why there is no core

del TYPE_CHECKING  # not a name of this module's surface
