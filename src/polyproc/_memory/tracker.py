"""The tracker: a small process that removes named segments when everybody who could is gone.

Only names need it; everything else of ours is anonymous. It is started by the first process of a family that creates a
segment, and the others write to the same pipe. It waits until the last writer has ended, and every process that its
starter descends from, so that a segment outlives the child that made it; then it removes what is still there.

A segment with a name at random needs no line: its name begins with the tracker's mark, which no other has. One with a
given name is registered, with its device and inode: another's segment of the same name stays.

It sleeps until the last writer is gone, and does not wake for each line: to wake it would cost more than to make a
segment. Lines wait in the pipe; who finds it full pokes the tracker by a second pipe.
"""

from __future__ import annotations

import _posixshmem
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from polyproc._native import native
from polyproc._platform.handles import open_pidfd, ready
from polyproc._platform.interpreter import command_line, spawn
from polyproc._platform.posix import close_quietly
from polyproc._process.family import family

_PROGRAM = "polyproc._entry.tracker_main"
PREFIX = "/psm_"  # of names at random; then comes the mark
_FOLDER = "/dev/shm"  # where the names can be listed


class PortableLines:
    """What puts lines; csrc/bind/py_lines.c is the same, with a way that takes no lock."""

    _fd: int | None = None
    _mark = ""
    _send: Callable[[str], None]
    ensure_running: Callable[[], None]

    def register(self, name: str, rtype: str, place: tuple[int, int] = (0, 0)) -> None:
        """Have a segment removed when its family has ended; `place` is its device and inode, zeros for any.

        Raises:
            OSError: no tracker can be started.
        """
        self._send(f"REGISTER {rtype} {place[0]} {place[1]} {name}\n")

    def unregister(self, name: str, rtype: str, place: tuple[int, int] = (0, 0)) -> None:
        """Say that a segment was removed, or is to stay; nothing happens if nobody had it watched."""
        if self._fd is not None:
            self._send(f"UNREGISTER {rtype} {place[0]} {place[1]} {name}\n")

    def marked(self) -> str:
        """Return the mark for a new segment; "" if the tracker has to be told of it, since a program looks at that.

        Raises:
            OSError: no tracker can be started.
        """
        if self.is_replaced():
            return ""
        self.ensure_running()
        return self._mark

    def covers(self, name: str) -> bool:
        """Say whether it knows of a segment by its name."""
        return bool(self._mark) and not self.is_replaced() and name.startswith(PREFIX + self._mark)

    def is_replaced(self) -> bool:
        """Say whether a program has replaced a method (docs/adr/0010): then that is called for each segment."""
        return not {"register", "unregister"}.isdisjoint(vars(self))


if TYPE_CHECKING or not native:
    Lines = PortableLines
else:
    from polyproc._core import Lines


class ResourceTracker(Lines):
    """The client's side of the tracker. One instance, `tracker`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        fds = family.tracker_fds
        self._fd = None if fds is None else fds[0]
        self._mark = family.tracker_mark
        self._poke_fd: int | None = None if fds is None else fds[1]
        self._pid: int | None = None

    def getfd(self) -> int | None:
        """Return the descriptor to write to, of a tracker that runs."""
        self.ensure_running()
        return self._fd

    def running(self) -> tuple[tuple[int, int] | None, str]:
        """Return the descriptors to write to and to poke, None if no tracker was started, and the mark."""
        return None if self._fd is None or self._poke_fd is None else (self._fd, self._poke_fd), self._mark

    def ensure_running(self) -> None:
        """Start the tracker unless one runs, ours or our family's."""
        with self._lock:
            if self._check_alive():
                return
            self._lose()
            self._start()

    def _lose(self) -> None:
        if self._fd is not None:
            text = "resource_tracker: process died unexpectedly, relaunching. Some resources might leak."
            warnings.warn(text, stacklevel=4)
        self._forget()

    def _forget(self) -> None:
        fds = [fd for fd in (self._fd, self._poke_fd) if fd is not None]
        self._fd = self._poke_fd = None  # before they are closed: the core looks without the lock
        close_quietly(*fds)
        if self._pid is not None:
            try:
                os.waitpid(self._pid, 0)
            except ChildProcessError:
                pass
        self._pid = None

    def _start(self) -> None:
        if getattr(sys, "frozen", False):
            return  # a frozen executable runs no program but its own: there a segment lasts until it is unlinked
        spec: Any = find_spec(_PROGRAM)
        read_fd, write_fd = os.pipe()
        poked_fd = poke_fd = -1
        watched: list[int] = []
        try:
            poked_fd, poke_fd = os.pipe()
            watched = [fd for pid in family.ancestors if (fd := open_pidfd(pid)) >= 0]
            source = spec.loader.get_source(_PROGRAM)
            mark = os.urandom(6).hex() if os.path.isdir(_FOLDER) else ""
            program = f"{source}\nmain({read_fd}, {poked_fd}, {watched}, {mark and PREFIX + mark!r})"
            os.set_blocking(write_fd, False)
            os.set_blocking(read_fd, False)
            # It ends last: what would end it is blocked from its first instruction on.
            blocked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            self._pid = spawn(command_line(program, without_site=True), [read_fd, poked_fd, *watched], blocked)
            self._fd, self._poke_fd, self._mark = write_fd, poke_fd, mark
        except BaseException:
            close_quietly(write_fd, poke_fd)
            raise
        finally:
            close_quietly(read_fd, poked_fd, *watched)

    def _send(self, line: str) -> None:
        data = line.encode()
        if len(data) > 512:  # PIPE_BUF of POSIX: a longer line could be torn
            raise ValueError("name too long")
        with self._lock:
            try:
                if self._fd is not None:
                    self._write(self._fd, data)
                    return
            except BrokenPipeError:
                pass
            self._lose()
            self._start()
            if self._fd is not None:
                self._write(self._fd, data)

    def _write(self, fd: int, data: bytes) -> None:
        while True:
            try:
                os.write(fd, data)
                return
            except BlockingIOError:
                os.write(self._poke_fd, b"!")  # type: ignore[arg-type]  # it is there when the other is
                ready([fd], None, select.POLLOUT)

    def _check_alive(self) -> bool:
        """Say whether the tracker still takes what is written to it."""
        return self._fd is not None and not ready([self._fd], 0, events=0)  # an error is told unasked

    def _stop(self) -> None:
        """End the tracker and wait for it: what it watches is removed. For tests."""
        with self._lock:
            self._forget()

    def reborn(self) -> None:
        """In a forked child: the tracker is the parent's child, and the lock is free."""
        self._lock = threading.RLock()
        self._pid = None


tracker = ResourceTracker()
# Programs take a kind out of it. The tracker is another process, as in the standard library: that changes nothing.
_CLEANUP_FUNCS: dict[str, Callable[..., object]] = {"noop": lambda: None, "shared_memory": _posixshmem.shm_unlink}
os.register_at_fork(after_in_child=tracker.reborn)
ensure_running = tracker.ensure_running
register = tracker.register
unregister = tracker.unregister
getfd = tracker.getfd
