"""How a descriptor crosses to a process that runs already: sent over a Unix socket (SCM_RIGHTS, unix(7))."""

from __future__ import annotations

import os
import socket
from array import array

from polyproc._base.typing import Any, Sequence
from polyproc._platform.posix import LINUX, close_on_exec

HAVE_SEND_HANDLE = hasattr(socket, "CMSG_LEN") and hasattr(socket, "SCM_RIGHTS") and hasattr(socket.socket, "sendmsg")
ACKNOWLEDGE = True

_FD_SIZE = array("i").itemsize
# socket.recv_fds of 3.11 takes flags and forgets them.
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0) if LINUX else 0


def sendfds(sock: socket.socket, fds: Sequence[int]) -> None:
    """Send descriptors over a Unix socket and wait until they are acknowledged."""
    socket.send_fds(sock, [bytes([len(fds) % 256])], list(fds))
    if sock.recv(1) != b"A":
        raise RuntimeError("did not receive acknowledgement of fd")


def recvfds(sock: socket.socket, size: int) -> list[int]:
    """Receive `size` descriptors from a Unix socket, close-on-exec, acknowledge them. Raises EOFError, RuntimeError."""
    message, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(size * _FD_SIZE), _CLOSE_ON_EXEC)
    fds = array("i")
    for level, kind, packed in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(packed[: len(packed) // _FD_SIZE * _FD_SIZE])
    if not message and not fds:
        raise EOFError
    if not _CLOSE_ON_EXEC:
        close_on_exec(*fds)
    sock.send(b"A")
    if len(fds) != size or message[0] != len(fds) % 256:
        for fd in fds:
            os.close(fd)
        raise RuntimeError(f"received {len(fds)} descriptors, expected {size}")
    return list(fds)


def send_handle(conn: Any, handle: int, destination_pid: int) -> None:
    """Send a descriptor over a connection that is a Unix socket."""
    with socket.fromfd(conn.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sendfds(sock, [handle])


def recv_handle(conn: Any) -> int:
    """Receive a descriptor over a connection that is a Unix socket."""
    with socket.fromfd(conn.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        return recvfds(sock, 1)[0]
