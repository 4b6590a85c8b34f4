"""Sentinels: descriptors that become readable when a process has ended, and waiting for descriptors."""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Sequence

HAVE_PIDFD = hasattr(os, "pidfd_open")

# poll(2) takes an int of milliseconds; longer waits are made of several.
_LONGEST_POLL = 1_000_000.0


def open_pidfd(pid: int) -> int:
    """Return a pidfd (pidfd_open(2)) of `pid`, or -1 where there is none to be had.

    ENOSYS: an old kernel. EPERM: a container's filter. ESRCH: it has ended and was reaped by somebody else.
    """
    if not HAVE_PIDFD:
        return -1
    try:
        return os.pidfd_open(pid)
    except (ProcessLookupError, PermissionError, NotImplementedError):
        return -1
    except OSError as error:
        if error.errno == 38:  # ENOSYS
            return -1
        raise


def ready(fds: Sequence[int], timeout: float | None, events: int = select.POLLIN) -> list[int]:
    """Wait until at least one of `fds` is readable, hung up or broken; return those that are.

    Args:
        fds: descriptors.
        timeout: seconds on the monotonic clock; None waits without limit, zero or less does not wait.
        events: what to wait for, as for poll(2).

    A signal handler may run during the wait, which then goes on; what the handler raises comes through.
    """
    poller = select.poll()
    for fd in fds:
        poller.register(fd, events)
    if timeout is None or timeout == math.inf:
        return [fd for fd, _ in poller.poll()]
    deadline = time.monotonic() + timeout
    left = max(timeout, 0.0)
    while True:
        found = poller.poll(math.ceil(min(left, _LONGEST_POLL) * 1000))
        left = deadline - time.monotonic()
        if found or left <= 0:
            return [fd for fd, _ in found]
