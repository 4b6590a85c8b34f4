"""Pipe(): two connected ends."""

from __future__ import annotations

import _socket
import os

from polyproc._connection.connection import Connection, connection_of
from polyproc._typing import Any


def Pipe(duplex: bool = True) -> tuple[Connection[Any, Any], Connection[Any, Any]]:
    """Return two connected ends; without `duplex` the first only receives and the second only sends."""
    if duplex:
        first, second = _socket.socketpair()  # and not what somebody may have put in place of socket.socketpair
        return connection_of(first), connection_of(second)
    read_fd, write_fd = os.pipe()
    return Connection(read_fd, writable=False), Connection(write_fd, readable=False)
