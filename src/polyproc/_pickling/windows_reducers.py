"""What is another in `reducers` on Windows: a handle is duplicated in the process that receives it."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi

from polyproc._base.typing import Any

HAVE_SEND_HANDLE = True
_DUPLICATE = 0x40


def send_handle(conn: Any, handle: int, destination_pid: int) -> None:
    """Send a handle over a connection: it is made in the process of that number."""
    process = _winapi.OpenProcess(_DUPLICATE, False, destination_pid)
    try:
        own = _winapi.GetCurrentProcess()
        number = _winapi.DuplicateHandle(own, handle, process, 0, False, _winapi.DUPLICATE_SAME_ACCESS)
    finally:
        _winapi.CloseHandle(process)
    conn.send(number)


def recv_handle(conn: Any) -> int:
    """Receive a handle over a connection."""
    return int(conn.recv())


def _no_sockets(*args: object) -> Any:
    raise NotImplementedError("Windows sends no handles over sockets: write send_handle(connection, handle, pid)")


sendfds = recvfds = _no_sockets
