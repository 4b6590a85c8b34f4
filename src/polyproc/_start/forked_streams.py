"""The streams of a process that has other threads, in its forked child: free of what those were doing.

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

from polyproc._base.modules import loaded
from polyproc._base.process_state import log
from polyproc._base.typing import Any
from polyproc._platform.handles import ready

_BUFFERS = (io.BufferedWriter, io.BufferedRandom)
_PATIENCE = 1.0  # seconds that a start waits for a pipe that nobody reads


def flush() -> None:
    """Flush the standard streams, but one that is blocked: who knows for how long another thread has it."""
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
