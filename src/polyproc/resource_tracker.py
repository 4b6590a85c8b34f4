"""Public names of `_memory/tracker`: the process that removes named segments when all their users are dead."""

from polyproc._base import modules as _modules
from polyproc._memory.tracker import ensure_running as ensure_running
from polyproc._memory.tracker import getfd as getfd
from polyproc._memory.tracker import register as register
from polyproc._memory.tracker import unregister as unregister
from polyproc._memory.tracker import ResourceTracker as ResourceTracker

# Kept for programs that reach inside multiprocessing.
from polyproc._memory.tracker import ReentrantCallError as ReentrantCallError
from polyproc._memory.tracker import _CLEANUP_FUNCS as _CLEANUP_FUNCS
from polyproc._memory.tracker import tracker as _resource_tracker

__all__ = ["ensure_running", "register", "unregister"]
_modules.live(__name__, _resource_tracker, "register", "unregister")
