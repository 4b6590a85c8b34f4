"""`breakpoint()` in a child: the debugger has the terminal for itself, one process at a time.

A child's standard input is /dev/null, so that two processes do not read from one terminal. A debugger has to: it opens
the controlling terminal, waits until no other process's debugger has it, and is its user, also for `input()` and
`print()` of the program, until it lets the program go on. The lock is flock(2) of the terminal, which ends with its
holder.
"""

from __future__ import annotations

import fcntl
import os
import pdb
import struct
import sys
from types import FrameType

from polyproc._base.process_state import process_state
from polyproc._base.typing import Any, TextIO

_TIOCGDEV = 0x80045432  # which device a terminal is, as an unsigned int; the same number on x86-64 and AArch64
_FIRST_PTS = 136  # the first major number of pseudo-terminals, each of which has 256 of them


class _Terminal:
    """The controlling terminal, while it is this process's; the program's standard streams are its then."""

    def __init__(self) -> None:
        self._file: TextIO | None = None
        self._lock_fd = -1
        self._before: tuple[Any, Any] = (None, None)

    def take(self) -> tuple[TextIO, TextIO]:
        """Wait until no other process has it; return what reads from it and what writes to it."""
        if self._file is None:
            fd = _open()
            try:
                self._lock_fd = os.open(_path_of(fd), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            except BaseException:
                os.close(fd)
                self._unlock()
                raise
            self._file = open(fd, encoding="utf-8", errors="replace")  # noqa: SIM115  (closed by `give_back`)
            self._output = open(fd, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            self._before = sys.stdin, sys.stdout
            sys.stdin, sys.stdout = self._file, self._output
        return self._file, self._output

    def give_back(self) -> None:
        """Give the terminal to the next debugger."""
        file, self._file = self._file, None
        if file is not None:
            if sys.stdin is file:
                sys.stdin = self._before[0]
            if sys.stdout is self._output:
                sys.stdout = self._before[1]
            self._before = (None, None)
            self._output.close()
            file.close()
            self._unlock()

    def _unlock(self) -> None:
        fd, self._lock_fd = self._lock_fd, -1
        if fd >= 0:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a child that was forked meanwhile has the descriptor, too
            os.close(fd)


def _open() -> int:
    where = f"breakpoint() in {process_state.current._name} (pid {os.getpid()})"
    advice = "PYTHONBREAKPOINT names another debugger, PYTHONBREAKPOINT=0 passes over it"
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise RuntimeError(
            f"{where}: this process has no terminal to be debugged at: /dev/tty: {error.strerror} ({advice})"
        ) from None
    if os.tcgetpgrp(fd) != os.getpgrp():
        os.close(fd)
        raise RuntimeError(
            f"{where}: this process is not in the foreground of its terminal, which it may not read ({advice})"
        )
    return fd


def _path_of(fd: int) -> str:
    """Return the terminal's own path: /dev/tty is one file for all terminals."""
    try:
        [device] = struct.unpack("I", fcntl.ioctl(fd, _TIOCGDEV, bytes(4)))
    except OSError:  # another system
        return os.ttyname(fd)
    major, minor = os.major(device), os.minor(device)
    path = f"/dev/pts/{(major - _FIRST_PTS) * 256 + minor}" if _FIRST_PTS <= major < _FIRST_PTS + 8 else ""
    return path if path and os.path.exists(path) else "/dev/tty"


class _Debugger(pdb.Pdb):
    """Has the terminal from a stop to the moment when the program goes on."""

    def __init__(self) -> None:
        super().__init__(stdin=terminal.take()[0], stdout=terminal.take()[1])

    def preloop(self) -> None:
        self.stdin, self.stdout = terminal.take()
        super().preloop()

    def stop_at(self, frame: FrameType, header: str | None, options: dict[str, Any]) -> None:
        """Stop in a frame of the program's."""
        self.stdin, self.stdout = terminal.take()
        self.message(f"-- {process_state.current._name} (pid {os.getpid()})")
        if header is not None:
            self.message(header)
        self.set_trace(frame, **options)

    def set_continue(self) -> None:
        super().set_continue()
        terminal.give_back()

    def set_quit(self) -> None:
        super().set_quit()
        terminal.give_back()


terminal = _Terminal()
_debuggers: list[_Debugger] = []  # the process's, from its first breakpoint() on: it remembers what was set


def stop_at(frame: FrameType, args: tuple[Any, ...], kwds: dict[str, Any]) -> object:
    """Do what breakpoint() does in a child, whose caller's frame is given."""
    if args or os.environ.get("PYTHONBREAKPOINT", "") not in ("", "pdb.set_trace"):
        return sys.__breakpointhook__(*args, **kwds)
    header = kwds.pop("header", None)
    if not _debuggers:
        _debuggers.append(_Debugger())
    _debuggers[0].stop_at(frame, header, kwds)
    return None
