"""Sentinels: descriptors that become readable when a process has ended, and waiting for descriptors."""

from __future__ import annotations

import math
import os
import select
import time
from _thread import allocate_lock
from collections.abc import Sequence

from polyproc._platform.posix import close_quietly

HAVE_PIDFD = hasattr(os, "pidfd_open")

# poll(2) takes an int of milliseconds; longer waits are made of several.
_LONGEST_POLL = 1_000_000.0


def most_descriptors() -> int:
    """Return how many descriptors this process may have at once."""
    most = os.sysconf("SC_OPEN_MAX")
    return most if most > 0 else 1 << 20


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


class WakePipe:
    """A descriptor, `fd`, that one thread waits for among others, and that other threads make readable.

    Its end is a flag and a last byte, and not the end of the pipe, which forked children keep open.
    """

    def __init__(self) -> None:
        self._lock = allocate_lock()  # of the writing end; not threading, which a parent that forks does without
        self.fd, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self.ended = False  # then nobody can wake it any more

    def wake(self) -> None:
        """Make it readable, unless it has ended."""
        with self._lock:
            if not self.ended:
                self._make_readable()

    def _make_readable(self) -> None:
        try:
            os.write(self._write, b".")
        except BlockingIOError:  # it is readable enough
            pass

    def drain(self) -> bool:
        """In the thread that waits, when it is readable: take note; return False at the end."""
        os.read(self.fd, 65536)
        return not self.ended

    def end(self) -> None:
        """Have who waits see the end."""
        with self._lock:
            if not self.ended:
                self.ended = True
                self._make_readable()

    def close(self) -> None:
        """End it, and give the descriptor back: nobody waits any more."""
        self.end()
        close_quietly(self.fd, self._write)
        self.fd = self._write = -1
