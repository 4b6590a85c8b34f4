"""Which system calls are refused here (an old kernel, a container's filter), and what is done without them.

A caller tries one, notes a refusal once, and takes another way. This is for `python -m polyproc doctor`.
"""

from __future__ import annotations

import os
import signal
import sys

from polyproc._base.native import native
from polyproc._platform.circumstances import affinity
from polyproc._platform.handles import has_pidfds, open_pidfd, pidfd
from polyproc._platform.posix import IS_WINDOWS, anonymous_file, close_quietly, memfd

INSTEAD = {
    "memfd_create": "memory is in files without a name, in /dev/shm or the temporary directory: these must have room",
    "pidfd_open": "pipes tell of the ends of processes; a process that C code forks in a child can hide its end",
    "pidfd_send_signal": "signals are sent to numbers of processes",
    "sched_getaffinity": "pools have as many workers as there are processors, whether or not they may be used",
    "fallocate": "memory is reserved by writing to it",
    "futex_waitv": "that a lock's owner has died is seen after 40 ms, and not at once",
    "get_robust_list": "the kernel does not tell of the death of a lock's owner: /proc is looked at, every 40 ms",
    "prctl": "children of the fork server are the server's own, which tells how they end",
    "linkat": "a named segment has its name before it is whole",
    "eventfd2": "a semaphore of many tokens is a number in a file, which costs more",
    "getrandom": "/dev/urandom is read",
    "preadv2": "a receiver sleeps at once, and does not look for a while first",
}


def system() -> str:
    """Return the system's name, its version and the kind of processor."""
    if sys.platform == "win32":
        version = sys.getwindowsversion()
        return (
            f"Windows {version.major}.{version.minor}.{version.build}, {os.environ.get('PROCESSOR_ARCHITECTURE', '')}"
        )
    found = os.uname()
    return f"{found.sysname} {found.release}, {found.machine}"


def refused_calls() -> dict[str, int]:
    """Try them, without effect; return those that are refused, and with which errno."""
    if IS_WINDOWS:  # which has none of them, and others that nobody refuses
        return {}
    refused = {} if native.core is None else dict(native.core.refused_calls())
    close_quietly(anonymous_file("polyproc-probe"))
    if has_pidfds():
        fd = open_pidfd(os.getpid())
        try:
            signal.pidfd_send_signal(fd, 0)
        except OSError as error:
            refused["pidfd_send_signal"] = error.errno or 0
        finally:
            close_quietly(fd)
    for capability in (memfd, pidfd):
        if capability.refused_by:
            refused[capability.call] = capability.refused_by
    if hasattr(os, "sched_getaffinity") and not affinity():
        refused["sched_getaffinity"] = 1
    return refused
