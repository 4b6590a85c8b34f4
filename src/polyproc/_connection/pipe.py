"""Pipe(): two connected ends."""

from __future__ import annotations

import _socket

from polyproc._connection.connection import Connection, connection_of
from polyproc._kernel import os
from polyproc._lazy import load
from polyproc._platform.posix import IS_WINDOWS
from polyproc._typing import Any


def Pipe(duplex: bool = True) -> tuple[Connection[Any, Any], Connection[Any, Any]]:
    """Return two connected ends; without `duplex` the first only receives and the second only sends."""
    if duplex and IS_WINDOWS:
        ends: Any = load("polyproc._kernel", "pipe")(True)  # type: ignore[operator]
        return Connection(ends[0]), Connection(ends[1])
    if duplex:
        first, second = _socket.socketpair()  # and not what somebody may have put in place of socket.socketpair
        return connection_of(first), connection_of(second)
    read_fd, write_fd = os.pipe()
    return Connection(read_fd, writable=False), Connection(write_fd, readable=False)
