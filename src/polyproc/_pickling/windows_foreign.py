"""What is another for files and sockets that are sent on Windows.

The C library knows files by numbers, all else by handles; Winsock has a list of its own of the sockets of a process.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import msvcrt
import os

from polyproc._base.typing import Any
from polyproc._platform.posix import close_quietly


def handle_of(fd: int) -> int:
    """Return the handle of an open file."""
    return msvcrt.get_osfhandle(fd)


def number_of(handle: int, mode: str) -> int:
    """Return the number of an open file that was received; the handle belongs to it."""
    access = os.O_RDWR if "+" in mode else os.O_RDONLY if "r" in mode else os.O_WRONLY
    return msvcrt.open_osfhandle(handle, access | os.O_BINARY)


def _rebuild_socket(sent: Any, family: int, kind: int, proto: int, timeout: float | None) -> Any:
    """Make a socket of a handle that was received: one that Winsock knows, too, from its first moment on."""
    import socket

    [handle] = sent.detach()
    try:
        known_as_a_handle = socket.socket(family, kind, proto, fileno=handle)
        try:
            made = socket.fromshare(known_as_a_handle.share(os.getpid()))
        finally:
            known_as_a_handle.detach()
    finally:
        close_quietly(handle)
    made.settimeout(timeout)
    return made
