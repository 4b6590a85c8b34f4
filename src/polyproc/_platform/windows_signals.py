"""Signals from a parent to its child on Windows, which has none: numbers in a pipe, which a thread of the child raises.

SIGINT wakes the main thread from a sleep or a wait; any other is heard when that has ended.

The pipe's end tells that the parent has ended, too: of what is to end with it, this is the way where its job object
does not see to it, for it was killed before it had put the child there, or a sandbox has refused.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _signal
import _thread
import _winapi

from polyproc._platform.windows_kernel import close, read

_MOMENT = 10_000  # milliseconds: a process that ends closes what it has before it counts as ended
_TERMINATED = 0x10000  # as in windows_handles


def listen(handle: int, parent: int | None) -> None:
    """Raise, in this process, what comes through the pipe, until its other end is closed.

    With `parent`, a handle of the parent's process, end this one if it was closed as that one ended.
    """
    _thread.start_new_thread(_listen, (handle, parent))


def _listen(handle: int, parent: int | None) -> None:
    try:
        while number := read(handle, 1):
            if callable(_signal.getsignal(number[0])):
                _signal.raise_signal(number[0])
    finally:
        close(handle)
    if parent is not None and _winapi.WaitForSingleObject(parent, _MOMENT) == _winapi.WAIT_OBJECT_0:
        _winapi.TerminateProcess(_winapi.GetCurrentProcess(), _TERMINATED)
