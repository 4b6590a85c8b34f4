"""Sentinels: descriptors that become readable when a process has ended; signals; waiting for descriptors."""

from __future__ import annotations

import _signal
import errno
import math
import os
import select
import time
from _thread import RLock
from time import monotonic

from polyproc._kernel import read, write
from polyproc._lazy import said
from polyproc._platform.greenlets import let_run, may_switch, own_module
from polyproc._platform.posix import Capability, close_quietly
from polyproc._typing import Sequence

POLLIN, POLLOUT, PIPE_BUF = select.POLLIN, select.POLLOUT, select.PIPE_BUF

# poll(2) takes an int of milliseconds; longer waits are made of several.
_LONGEST_POLL = 1_000_000.0


pidfd = Capability("pidfd_open", hasattr(os, "pidfd_open"))
pidfd_signal = Capability("pidfd_send_signal", hasattr(_signal, "pidfd_send_signal"))


def due(timeout: float) -> float:
    """Return the monotonic time at which a wait of `timeout` seconds ends. Raises TypeError for what is no number."""
    try:
        return monotonic() + timeout
    except TypeError:
        raise said("not_seconds", timeout) from None


def most_descriptors() -> int:
    """Return how many descriptors this process may have at once."""
    most = os.sysconf("SC_OPEN_MAX")
    return most if most > 0 else 1 << 20


def has_pidfds() -> bool:
    """Return whether processes can be held by pidfds; where not, children are watched by `_process/ends.py`."""
    if pidfd.may_work and not pidfd.has_worked:
        close_quietly(open_pidfd(os.getpid()))
    return pidfd.may_work


def open_pidfd(pid: int) -> int:
    """Return a pidfd (pidfd_open(2)) of `pid`; -1 where there are none, or if it has ended and was reaped."""
    if pidfd.may_work:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return -1
        except OSError as error:
            pidfd.note(error)
            return -1
        pidfd.has_worked = True
        return fd
    return -1


def started_at(pid: int) -> str:
    """Return when a process was started, in the kernel's count, "" if it is not there or no more than a zombie.

    With its number it names a process for sure, where there are no pidfds; between a look and a signal it may end.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:  # it has ended, or there is no /proc
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def ended_sentinel() -> int:
    """Return a descriptor that is readable at once: the sentinel of a process that has ended."""
    read_fd, write_fd = os.pipe()
    os.close(write_fd)
    return read_fd


def send_signal(fd: int, pid: int, signum: int) -> None:
    """Send a signal to the process that a pidfd stands for; where that cannot be, to its number.

    Raises:
        ProcessLookupError: it has ended. PermissionError: it is another user's.
    """
    if fd >= 0 and pidfd_signal.may_work:
        try:
            _signal.pidfd_send_signal(fd, signum)
            return
        except ProcessLookupError:
            raise
        except OSError as error:
            if error.errno == errno.ENOSYS:
                pidfd_signal.note(error)
            elif error.errno not in (errno.EPERM, errno.EBADF):  # a filter, or another user's; a pipe
                raise
    os.kill(pid, signum)


# Others may have replaced or removed it, as gevent and eventlet do.
new_poll = select.poll if type(getattr(select, "poll", None)) is type(len) else own_module("select").poll


def ready(fds: Sequence[int], timeout: float | None, events: int = select.POLLIN) -> list[int]:
    """Wait until at least one of `fds` is readable, hung up or broken; return those that are.

    Args:
        fds: descriptors.
        timeout: seconds on the monotonic clock; None waits without limit, zero or less does not wait.
        events: what to wait for, as for poll(2).

    A signal handler may run during the wait, which then goes on; what the handler raises comes through.
    """
    poller = new_poll()
    for fd in fds:
        poller.register(fd, events)
    return [fd for fd, _ in poll(poller, timeout)]


def poll(poller: select.poll, timeout: float | None) -> list[tuple[int, int]]:
    """Poll what is registered, up to `timeout` seconds, as `ready` does; return the descriptors and what they are."""
    deadline = math.inf if timeout is None else due(timeout)
    if may_switch() and (timeout is None or timeout > 0):
        found = _poll_between_greenlets(poller, deadline)
        if found is not None:
            return found
    if timeout is None or timeout == math.inf:
        return poller.poll()
    left = max(timeout, 0.0)
    while True:
        found = poller.poll(math.ceil(min(left, _LONGEST_POLL) * 1000))
        left = deadline - time.monotonic()
        if found or left <= 0:
            return found


def pause(seconds: float) -> None:
    """Sleep, whatever somebody has put in place of time.sleep."""
    poll(new_poll(), seconds)


def _poll_between_greenlets(poller: select.poll, deadline: float) -> list[tuple[int, int]] | None:
    """Poll while other greenlets run; return None where this thread has none."""
    turns = 0
    while True:
        found = poller.poll(0)
        left = deadline - time.monotonic()
        if found or left <= 0:
            return found
        if not let_run(turns, left if left < _LONGEST_POLL else -1.0):
            return None
        turns += 1


class WakePipe:
    """A descriptor, `fd`, that one thread waits for among others, and that other threads make readable.

    Its end is a flag and a last byte, and not the end of the pipe, which forked children keep open.
    """

    def __init__(self) -> None:
        # Of the writing end; a handler of signals, or a finalizer, may come to wake it in the middle of a call.
        self._lock = RLock()  # not threading's, which a parent that forks does without
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
            write(self._write, b".")
        except BlockingIOError:  # it is readable enough
            pass

    def drain(self) -> bool:
        """In the thread that waits, when it is readable: take note; return False at the end."""
        read(self.fd, 65536)
        return not self.ended

    def end(self) -> None:
        """Mark as closed and wake the waiting threads."""
        with self._lock:
            if not self.ended:
                self.ended = True
                self._make_readable()

    def close(self) -> None:
        """End it, and give the descriptor back: nobody waits any more."""
        self.end()
        close_quietly(self.fd, self._write)
        self.fd = self._write = -1
