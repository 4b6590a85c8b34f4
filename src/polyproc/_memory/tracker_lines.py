"""The standard library's way to speak to a tracker, for trackers of somebody else's."""

from __future__ import annotations

import os
import threading

from polyproc._kernel import write
from polyproc._public import public
from polyproc._typing import Any, ClassVar

_LONGEST = 512  # bytes of a line: so many are written in one piece


@public("resource_tracker")
class ReentrantCallError(RuntimeError):
    """Is never raised here: a tracker may be called within a call. For programs that expect it."""


@public("resource_tracker")
class ResourceTracker:
    """The standard library's: lines `COMMAND:name:kind` to a helper, by the descriptor `_fd`. To be subclassed.

    A subclass has a helper of its own, with commands of its own: it overrides `ensure_running`. One that does not
    writes to its family's file, of which the tracker heeds what is said of segments.
    """

    ours: ClassVar[Any]  # that of our family
    _lock: Any
    _fd: int | None
    _pid: int | None

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._fd = None
        self._pid = None

    def getfd(self) -> int | None:
        """Return a descriptor to which the lines can be written."""
        self.ensure_running()
        return self._fd

    def ensure_running(self) -> None:
        """Start the helper that reads what is written to `_fd`, if none runs."""
        with self._lock:
            if not self._check_alive():
                self._fd = self.ours.getfd()

    def _check_alive(self) -> bool:
        """Return whether what is written arrives."""
        if self._fd is None:
            return False
        if self._fd == self.ours._fd:
            return bool(self.ours._check_alive())
        try:
            write(self._fd, b"PROBE:0:noop\n")
        except OSError:
            return False
        return True

    def _stop(self) -> None:
        """End the helper, by the end of its pipe, and wait for it."""
        with self._lock:
            fd, self._fd = self._fd, None
            if fd is not None and fd != self.ours._fd:
                os.close(fd)
                self._reap()

    def _reap(self) -> None:
        pid, self._pid = self._pid, None
        if pid is not None:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass

    def register(self, name: str, rtype: str) -> None:
        """Register something that is removed when its users have ended."""
        self._send("REGISTER", name, rtype)

    def unregister(self, name: str, rtype: str) -> None:
        """Say that something was removed, or is to stay."""
        self._send("UNREGISTER", name, rtype)

    def _send(self, cmd: str, name: str, rtype: str) -> None:
        """Write a line to a helper that runs."""
        line = line_of(cmd, name, rtype)
        self.ensure_running()
        assert self._fd is not None  # ensure_running saw to it
        write(self._fd, line)


def line_of(cmd: str, name: str, rtype: str) -> bytes:
    """Return a line of the standard library's, which is written in one piece."""
    line = f"{cmd}:{name}:{rtype}\n".encode(errors="surrogateescape")
    if len(line) > _LONGEST:
        raise ValueError("name too long")
    return line
