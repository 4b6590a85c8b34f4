"""How a descriptor crosses to another process at any time: to a child at its start, or to whoever reads the pickle.

A process that runs already opens it anew as /proc/<pid>/fd/<number> of its sender (proc(5)): same user, same system,
and the sender must live and have it open by then. Files and pipes can be opened so; sockets and eventfds cannot.
"""

from __future__ import annotations

import os
from typing import Any

from polyproc._pickling.spawning import current


class LiveFd:
    """A descriptor of another process, by its number there."""

    def __init__(self, pid: int, number: int, inode: int, flags: int) -> None:
        self.pid = pid
        self.number = number
        self.inode = inode
        self.flags = flags

    def detach(self) -> int:
        """Open it here; the descriptor is the caller's to close.

        Raises:
            RuntimeError: its sender has ended or given it up, or belongs to another user.
        """
        try:
            fd = os.open(f"/proc/{self.pid}/fd/{self.number}", self.flags | os.O_CLOEXEC)
        except OSError as error:
            raise RuntimeError(f"{self._what()} has ended or belongs to another user") from error
        if os.fstat(fd).st_ino != self.inode:
            os.close(fd)
            raise RuntimeError(f"{self._what()} has given it up")
        return fd

    def _what(self) -> str:
        return f"a shared object cannot be received: process {self.pid}, which sent it,"


def live_fd(fd: int, flags: int = os.O_RDWR) -> Any:
    """Return an object to pickle that stands for `fd`; its `detach()` gives it in the process that reads the pickle."""
    child = current()
    return LiveFd(os.getpid(), fd, os.fstat(fd).st_ino, flags) if child is None else child.DupFd(fd)
