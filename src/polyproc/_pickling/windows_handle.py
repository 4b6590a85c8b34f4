"""How a handle crosses to a process that runs already, on Windows: it is duplicated by the one that receives it."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import os

from polyproc._platform.posix import close_quietly
from polyproc._platform.windows_kernel import dup

_DUPLICATE = 0x40


class KeptHandle:
    """A handle that is closed with this object."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __del__(self) -> None:
        close_quietly(self.handle)


class SentHandle:
    """A handle of its own for what is sent, which the process that receives it closes here.

    Of what may be sent more than once, as by a pool, the sender keeps it: it is added to `kept`.
    """

    def __init__(self, handle: int, kept: list[object] | None) -> None:
        self.pid = os.getpid()
        self.number = dup(handle)
        self.is_kept = kept is not None
        if kept is not None:
            kept.append(KeptHandle(self.number))

    def detach(self) -> int:
        """Duplicate it here; the handle is the caller's to close.

        Raises:
            RuntimeError: its sender has ended.
        """
        options = _winapi.DUPLICATE_SAME_ACCESS | (0 if self.is_kept else _winapi.DUPLICATE_CLOSE_SOURCE)
        try:
            sender = _winapi.OpenProcess(_DUPLICATE, False, self.pid)
            try:
                return _winapi.DuplicateHandle(sender, self.number, _winapi.GetCurrentProcess(), 0, False, options)
            finally:
                _winapi.CloseHandle(sender)
        except OSError as error:
            text = f"a shared object cannot be received: process {self.pid}, which sent it, has ended"
            raise RuntimeError(text) from error
