"""Starting a child in a process that has other threads: a warning, once of each, and streams free of what they do.

A buffered stream has a lock, and keeps what was not written yet. Both are copied: the lock may belong to a thread that
is not there any more, and the text will be written by the parent. So a child gives its buffers new locks and no
contents; the streams themselves stay what they are, for whoever refers to them.

Meant are the standard streams and those of logging's handlers. A lock of a file that a program shares between its
threads by itself is its own, as every other lock is.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading

from polyproc._base.modules import loaded
from polyproc._base.process_state import log
from polyproc._base.typing import Any
from polyproc._platform.handles import HeldBack, hold_back_no_more, ready
from polyproc._platform.posix import noting, quiet

_BUFFERS = (io.BufferedWriter, io.BufferedRandom)
_PATIENCE = 1.0  # seconds that a start waits for a pipe that nobody reads


def flush() -> None:
    """Flush the standard streams, except one that is blocked: another thread may have it for long."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if _takes_more(stream):
                stream.flush()
            else:
                log.info("standard stream %s is blocked: it is not flushed before a start", getattr(stream, "name", ""))
        except (AttributeError, ValueError, OSError):  # none, or a broken one: not the start's business
            pass


def _takes_more(stream: Any) -> bool:
    try:
        fd = stream.fileno()
    except (AttributeError, ValueError, OSError):
        return True  # it is no file
    return bool(ready([fd], _PATIENCE, select.POLLOUT))


def renew() -> None:
    """In a forked child: give the buffers of its streams new locks, and drop what the parent will write."""
    streams = [sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__]
    logging: Any = loaded("logging")
    if logging is not None:
        streams += [getattr(reference(), "stream", None) for reference in logging._handlerList]
    nowhere = io.FileIO(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), "r+b")
    for stream in {id(stream): stream for stream in streams}.values():
        buffer = stream if type(stream) in _BUFFERS else getattr(stream, "buffer", None)
        if type(buffer) in _BUFFERS:
            try:
                _renew(stream, buffer, nowhere)
            except (ValueError, OSError):  # detached, or its file is no file any more
                pass
    nowhere.close()


def _renew(stream: Any, buffer: Any, nowhere: io.FileIO) -> None:
    """Make a buffer anew, in place, twice: first for what its stream still has, and has not given to it."""
    raw = buffer.raw
    if not raw.closed:
        buffer.__init__(nowhere)
        try:
            stream.flush()
        finally:
            buffer.__init__(raw)


# The warning before a fork.


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
        import warnings

        _thread_warning.warned |= fresh
        warnings.warn(
            # The interpreter's own words first (3.12 and later): programs have filters for them.
            f"This process (pid={os.getpid()}) is multi-threaded, use of fork() may lead to deadlocks in the child. "
            f"Other threads: {', '.join(sorted(fresh))}. A lock that one of them holds stays locked in the child; the "
            "start methods spawn and forkserver do not have this problem",
            DeprecationWarning,
            stacklevel=7,
        )


def warn_and_fork(made: list[int]) -> int:
    """Warn, then fork without the interpreter's own warning (3.12 and later): ours has said which threads they are."""
    import warnings

    _warn_of_threads()
    # The fork's mask is not enough here: in what follows a fork, a Ctrl-C that another thread hears would break off who
    # frees the locks that were taken for it (logging's).
    with HeldBack():
        pid = quiet.fork(noting(os.fork, made), warnings)
        if pid == 0:
            hold_back_no_more()  # also what held it back in the parent's main thread, if that is not this one
    if pid == 0:
        renew()
    return pid
