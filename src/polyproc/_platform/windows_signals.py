"""Signals from a parent to its child on Windows, which has none: numbers in a pipe, which a thread of the child raises.

SIGINT wakes the main thread from a sleep or a wait; any other is heard when that has ended.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _signal
import _thread

from polyproc._platform.windows_kernel import close, read


def listen(handle: int) -> None:
    """Raise, in this process, what comes through the pipe, until its other end is closed."""
    _thread.start_new_thread(_listen, (handle,))


def _listen(handle: int) -> None:
    try:
        while number := read(handle, 1):
            if callable(_signal.getsignal(number[0])):
                _signal.raise_signal(number[0])
    finally:
        close(handle)
