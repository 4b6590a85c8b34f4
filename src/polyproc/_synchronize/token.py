"""The portable semaphore: a counter in the kernel, reached by a descriptor.

A pipe that holds one byte a token; for more tokens than a pipe is sure to take, an eventfd in semaphore mode
(eventfd(2)). It has no name, passes to other processes as any descriptor does, and is gone with its last
holder, whatever way its holders end. It does not know who holds a token: one that a killed process held is lost. That
is what the C core is for.
"""

from __future__ import annotations

import array
import os
import select
import sys
import time

from polyproc._kernel import read, write
from polyproc._lazy import load
from polyproc._pickling import inherited
from polyproc._pickling.live_fd import live_fd
from polyproc._platform.handles import due, ready
from polyproc._platform.posix import IS_WINDOWS, Capability, close_quietly
from polyproc._typing import Any

_MOST_IN_A_PIPE: int = getattr(select, "PIPE_BUF", 512)  # what every pipe takes at once

eventfd = Capability("eventfd2", hasattr(os, "eventfd"))


def counter_of(value: int) -> TokenCounter:
    """Return a counter of tokens, of the kind that is to be had here."""
    if IS_WINDOWS:
        return load("polyproc._synchronize.windows_semaphore", "SemaphoreCounter")(value)  # type: ignore[operator, no-any-return]
    if value > _MOST_IN_A_PIPE:
        if eventfd.may_work:
            try:
                return TokenCounter(value)
            except OSError as error:
                eventfd.note(error)
        make: Any = load("polyproc._synchronize.many_tokens", "ManyTokens")
        return make(value)  # type: ignore[no-any-return]
    return TokenCounter(value)


class TokenCounter:
    """A number that processes lower, waiting while it is zero, and raise."""

    def __init__(self, value: int, fds: tuple[int, int] | None = None) -> None:
        self._read_fd = self._write_fd = -1
        if fds is not None:
            self._read_fd, self._write_fd = fds
        elif value > _MOST_IN_A_PIPE:
            self._read_fd = os.eventfd(value, os.EFD_SEMAPHORE | os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._write_fd = self._read_fd
        else:
            self._read_fd, self._write_fd = os.pipe()
            os.set_blocking(self._read_fd, False)
            write(self._write_fd, b"." * value)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Lower the number by one; wait up to `timeout` seconds (None: without limit) while it is zero."""
        if self._take():
            return True
        if not block or (timeout is not None and timeout <= 0):
            return False
        deadline = None if timeout is None else due(timeout)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return self._take()
            ready([self._read_fd], left)
            if self._take():
                return True

    def _take(self) -> bool:
        try:
            return bool(read(self._read_fd, 8 if self._is_eventfd() else 1))
        except BlockingIOError:
            return False

    def release(self) -> None:
        """Raise the number by one."""
        write(self._write_fd, (1).to_bytes(8, sys.byteorder) if self._is_eventfd() else b".")

    def value(self) -> int:
        """Return the number as it is at this moment."""
        if not self._is_eventfd():
            return _pipe_length(self._read_fd)
        with open(f"/proc/self/fdinfo/{self._read_fd}") as info:
            for line in info:
                if line.startswith("eventfd-count:"):
                    return int(line.split()[1], 16)
        raise NotImplementedError("this system does not tell the value of an eventfd")

    def fileno(self) -> int:
        """Return what can be read while the number is not zero."""
        return self._read_fd

    def _is_eventfd(self) -> bool:
        return self._read_fd == self._write_fd

    def __reduce__(self) -> tuple[Any, ...]:
        if self._is_eventfd():
            return _rebuild, (inherited.DupFd(self._read_fd), None)
        return _rebuild, (
            live_fd(self._read_fd, os.O_RDONLY | os.O_NONBLOCK, self),
            live_fd(self._write_fd, os.O_WRONLY, self),
        )

    def __del__(self) -> None:
        close_quietly(self._read_fd)
        if not self._is_eventfd():
            close_quietly(self._write_fd)


def _pipe_length(fd: int) -> int:
    length = array.array("i", [0])
    load("fcntl", "ioctl")(fd, load("termios", "FIONREAD"), length)  # type: ignore[operator]
    return length[0]


def _rebuild(read_fd: Any, write_fd: Any) -> TokenCounter:
    fd = read_fd.detach()
    return TokenCounter(0, (fd, fd if write_fd is None else write_fd.detach()))
