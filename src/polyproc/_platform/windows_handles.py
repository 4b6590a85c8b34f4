"""What `handles` is on Windows: handles of processes, waiting for handles, and ending processes.

A pipe or a connected socket is waited for by reading nothing from it: that is done when there is something. Of what
can be waited for itself (a process, an event) the system takes 64 at once; more are waited for by turns.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import math
import select
import socket
import time
from time import monotonic

from polyproc._base.modules import said
from polyproc._base.typing import Any, Iterator, Sequence
from polyproc._platform import windows_kernel as kernel
from polyproc._platform.posix import Capability, close_quietly
from polyproc._platform.windows_objects import new_event, reset_event, set_event

POLLIN, POLLOUT, GONE, PIPE_BUF = 1, 4, 16, 4096  # as everywhere else
_MAX_HANDLES = 60  # of 64: the interpreter adds one for Ctrl-C
_LONGEST = 1_000_000  # milliseconds
_TURN = 10  # milliseconds for which one group of handles is waited for, when there are several
_LISTENING_TICK = 5  # milliseconds from one look at a listening socket to the next, where others are waited for, too
_SYNCHRONIZE, _TERMINATE, _QUERY, _DUPLICATE = 0x100000, 1, 0x1000, 0x40
TERMINATED = 0x10000  # the exit code of a process that was ended by us; the standard library's

pidfd = Capability("pidfd_open", False)
pidfd_signal = Capability("pidfd_send_signal", False)


def due(timeout: float) -> float:
    """Return the monotonic time at which a wait of `timeout` seconds ends. Raises TypeError for what is no number."""
    try:
        return monotonic() + timeout
    except TypeError:
        raise said("not_seconds", timeout) from None


def most_descriptors() -> int:
    """Return how many handles this process may have at once."""
    return 1 << 24


def has_pidfds() -> bool:
    """Return true: processes have handles."""
    return True


def open_pidfd(pid: int) -> int:
    """Return a handle of a process; -1 if there is none of that number."""
    for access in (_SYNCHRONIZE | _QUERY | _TERMINATE | _DUPLICATE, _SYNCHRONIZE | _QUERY):
        try:
            return _winapi.OpenProcess(access, False, pid)
        except OSError:
            pass
    return -1


def started_at(pid: int) -> str:
    """Return "": a handle names a process for sure."""
    return ""


def ended_sentinel() -> int:
    """Return a handle that is ready at once: the sentinel of a process that has ended."""
    return new_event(True)


def send_signal(handle: int, pid: int, signum: int) -> None:
    """End a process, for SIGTERM and SIGKILL: Windows has no signals. Others are left out.

    Raises:
        ProcessLookupError: it has ended.
    """
    own = open_pidfd(pid) if handle < 0 else handle
    if own < 0:
        raise ProcessLookupError(3, "No such process")
    try:
        if signum in (9, 15):
            _winapi.TerminateProcess(own, TERMINATED)
    except PermissionError:
        if not ready([own], 1.0):  # it is ending
            raise
        raise ProcessLookupError(3, "No such process") from None
    finally:
        if handle < 0:
            close_quietly(own)


class Poller:
    """Handles to wait for."""

    def __init__(self) -> None:
        self._events: dict[int, int] = {}

    def register(self, handle: int, events: int = POLLIN) -> None:
        """Wait for a handle, too."""
        self._events[handle] = events

    modify = register

    def unregister(self, handle: int) -> None:
        """Wait for it no more."""
        del self._events[handle]

    def poll(self, milliseconds: float | None = None) -> list[tuple[int, int]]:
        """Wait; return the handles that are ready, and for what."""
        with _Wait(self._events) as wait:
            return wait.wait(milliseconds)


class _Wait:
    """One wait: what stands for each handle in it."""

    def __init__(self, events: dict[int, int]) -> None:
        self.found: list[tuple[int, int]] = []
        self.waited: dict[int, tuple[int, int]] = {}  # what can be waited for -> the handle, and what it is ready for
        self.listening: dict[socket.socket, int] = {}
        self.operations: list[Any] = []
        self._events = events

    def __enter__(self) -> _Wait:
        for handle, events in self._events.items():
            self._begin(handle, events)
        return self

    def __exit__(self, *exc: object) -> None:
        for sock in self.listening:
            sock.detach()
        for operation in self.operations:
            try:
                operation.cancel()
                operation.GetOverlappedResult(True)
            except OSError:
                pass

    def _begin(self, handle: int, events: int) -> None:
        kind = kernel.type_of_file(handle)
        if events & POLLOUT:
            rest = kernel.unfinished.get(handle)
            if rest is None:
                self.found.append((handle, POLLOUT))
            else:
                self.waited[rest[0].event] = handle, POLLOUT
        if not events & POLLIN:
            return
        if kind == kernel.DISK or handle in kernel.unread:
            self.found.append((handle, POLLIN))
        elif kind != kernel.PIPE:
            self.waited[handle] = handle, POLLIN
        elif (sock := _listening(handle)) is not None:
            self.listening[sock] = handle
        else:
            self._read_nothing(handle, events)

    def _read_nothing(self, handle: int, events: int) -> None:
        if events & GONE and _has_gone(handle):
            self.found.append((handle, POLLIN | GONE))
            return
        try:
            operation, error = _winapi.ReadFile(handle, 0, overlapped=True)
        except OSError:  # it has ended
            self.found.append((handle, POLLIN | GONE))
            return
        self.operations.append(operation)
        if error == _winapi.ERROR_IO_PENDING:
            self.waited[operation.event] = handle, POLLIN
        else:
            self.found.append((handle, POLLIN))

    def wait(self, milliseconds: float | None) -> list[tuple[int, int]]:
        left = math.inf if milliseconds is None else max(milliseconds, 0)
        until = monotonic() * 1000 + left
        groups = [list(self.waited)[at : at + _MAX_HANDLES] for at in range(0, len(self.waited), _MAX_HANDLES)]
        if self.found:
            left = 0
        while True:
            tick = left if len(groups) <= 1 else min(left, _TURN)
            if self.listening:
                tick = self._look_at_listening(tick, bool(groups))
            for group in groups or ([[]] if tick else []):
                self._wait_for(group, 0 if self.found else tick)
            left = max(until - monotonic() * 1000, 0)
            if self.found or left <= 0:
                return self.found

    def _look_at_listening(self, tick: float, beside_others: bool) -> float:
        """Look whether somebody has connected; return how long to wait for the others."""
        seconds = 0.0 if beside_others or self.found else min(tick, _LONGEST) / 1000
        seconds = min(seconds, 0.5)  # a signal's handler runs between
        ready_now, _, _ = select.select(list(self.listening), (), (), seconds)
        self.found += [(self.listening[sock], POLLIN) for sock in ready_now]
        return min(tick, _LISTENING_TICK) if beside_others else 0

    def _wait_for(self, group: list[int], tick: float) -> None:
        milliseconds = min(math.ceil(tick), _LONGEST) if tick != math.inf else _LONGEST
        if not group:
            time.sleep(milliseconds / 1000)
            return
        while group:
            index = _winapi.WaitForMultipleObjects(group, False, milliseconds)
            if not 0 <= index < len(group):
                return
            self.found.append(self.waited[group[index]])
            group = group[index + 1 :]
            milliseconds = 0


def _listening(handle: int) -> socket.socket | None:
    """Return a socket object for a handle that is a listening socket's."""
    if not kernel.may_be_socket(handle):
        return None
    try:
        sock = socket.socket(fileno=handle)
    except OSError:  # a pipe
        return None
    try:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return sock
    except OSError:
        pass
    sock.detach()
    return None


def _has_gone(handle: int) -> bool:
    """Return whether nothing is left of what came, and no more can come."""
    try:
        sock = socket.socket(fileno=handle)
    except OSError:  # a pipe, which tells by an error
        return False
    try:
        sock.setblocking(False)
        return not sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sock.setblocking(True)
        sock.detach()


new_poll = Poller


def ready(fds: Sequence[int], timeout: float | None, events: int = POLLIN) -> list[int]:
    """Wait until at least one of `fds` is readable, hung up or broken; return those that are."""
    poller = Poller()
    for fd in fds:
        poller.register(fd, events)
    return [fd for fd, _ in poll(poller, timeout)]


def poll(poller: Poller, timeout: float | None) -> list[tuple[int, int]]:
    """Poll what is registered, up to `timeout` seconds, as `ready` does; return the handles and what they are."""
    from polyproc._platform.handles import let_run, may_switch

    deadline = math.inf if timeout is None else due(timeout)
    if may_switch() and (timeout is None or timeout > 0):
        for turns in _turns():
            found = poller.poll(0)
            left = deadline - monotonic()
            if found or left <= 0:
                return found
            if not let_run(turns, left if left < _LONGEST else -1.0):
                break
    if timeout is None or timeout == math.inf:
        return poller.poll()
    return poller.poll(max(timeout, 0.0) * 1000)


def _turns() -> Iterator[int]:
    turns = 0
    while True:
        yield turns
        turns += 1


def pause(seconds: float) -> None:
    """Sleep."""
    poll(Poller(), seconds)


class WakePipe:
    """An event, `fd`, that one thread waits for among others, and that other threads set."""

    def __init__(self) -> None:
        self.fd = new_event(False)
        self.ended = False

    def wake(self) -> None:
        """Set it, unless it has ended."""
        if not self.ended:
            set_event(self.fd)

    def drain(self) -> bool:
        """In the thread that waits, when it is set: take note; return False at the end."""
        if not self.ended:
            reset_event(self.fd)
        return not self.ended

    def end(self) -> None:
        """Mark as closed and wake the waiting threads."""
        if not self.ended:
            self.ended = True
            set_event(self.fd)

    def close(self) -> None:
        """End it, and give the handle back: nobody waits any more."""
        self.end()
        close_quietly(self.fd)
        self.fd = -1
