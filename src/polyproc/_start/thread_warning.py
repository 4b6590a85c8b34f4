"""Fork in a process that has other threads: warn once of each, by name. Loaded only by a process that has some."""

from __future__ import annotations

import os
import threading
import warnings

from polyproc._platform.posix import quiet
from polyproc._start.forked_streams import renew


class _ThreadWarning:
    """Whether the warning was given: once for each set of threads. One instance."""

    def __init__(self) -> None:
        self.warned: frozenset[str] = frozenset()


_thread_warning = _ThreadWarning()


def _warn_of_threads() -> None:
    if threading.current_thread().name.startswith("polyproc"):
        return  # a pool replaces a worker: not its user's doing
    names = frozenset(t.name for t in threading.enumerate() if t is not threading.current_thread())
    fresh = {name for name in names if not name.startswith("polyproc")} - _thread_warning.warned
    if fresh:
        _thread_warning.warned |= fresh
        warnings.warn(
            # The interpreter's own words first (3.12 and later): programs have filters for them.
            f"This process (pid={os.getpid()}) is multi-threaded, use of fork() may lead to deadlocks in the child. "
            f"Other threads: {', '.join(sorted(fresh))}. A lock that one of them holds stays locked in the child; the "
            "start methods spawn and forkserver do not have this problem",
            DeprecationWarning,
            stacklevel=7,
        )


def warn_and_fork() -> int:
    """Warn, then fork without the interpreter's own warning (3.12 and later): ours has said which threads they are."""
    _warn_of_threads()
    pid = quiet.fork(os.fork, warnings)
    if pid == 0:
        renew()
    return pid
