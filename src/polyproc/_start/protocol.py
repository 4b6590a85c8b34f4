"""The protocol of a client and its fork server, over a socketpair that has no name.

It carries whole messages: a SOCK_SEQPACKET one by itself; where there are none, each begins with its length.

    server -> client     the fork server alone, once, when it is ready: (names and tracebacks of preloads that
                         failed, main was imported)
    client -> server     AT_ONCE, AHEAD or LATER, an order: one descriptor, the child's end of a channel of its own;
                         or HURRY, no order: what was to be made later is waited for now; or the names of
                         modules to load, which the client has loaded meanwhile
    server -> client     (pid, 0, "", count) with that many descriptors: the child's pidfd and, if the server is
                         its parent, a status pipe; or (-1, errno, text, 0)
    client -> child      over the child's channel: the job, with the black box and the descriptors that are passed

The job is not in the order, so that a start happens exactly once whoever is killed; and so a client can order a
child before it has a job for it, and a start then costs no fork. Such a child is made AHEAD of its job, which it
rehearses; or LATER, in some milliseconds, so that its making takes no processor from the one before it, nor from the
client. One that is to have its job AT_ONCE does not rehearse.

| SIGKILL at                                  | left behind                | repair                                   |
|---------------------------------------------|----------------------------|------------------------------------------|
| client, after the order                     | a child without a job      | it reads the end of its channel and exits|
| server, before the clone ("clone.before")   | no child                   | client starts a server and orders again  |
| server, after the clone ("clone.made")      | a child without a job      | as the first row; client reaps it        |
| a child that waits for a job                | a zombie                   | client reaps it and orders another       |

A job is one packet; a large one stands in an anonymous file, whose descriptor is sent first.
"""

from __future__ import annotations

import _socket
import errno
import marshal
import os
import sys

from polyproc._platform.posix import LINUX, LongLived, close_on_exec, file_with, has, pread_all

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any

AT_ONCE, AHEAD, LATER, HURRY = range(4)

# _socket, and not socket: a fork server and all its children would carry selectors and enum with them.
Socket = _socket.socket

_FDS_IN_A_PACKET = 200  # the kernel's limit is 253 (SCM_MAX_FD)
_PACKET_SIZE = 1 << 16
_INLINE = 1 << 15  # a packet must fit into the socket's buffer

_IS_WHOLE = has(_socket, "SOCK_SEQPACKET")  # whether the system keeps messages apart
_KIND = _socket.SOCK_SEQPACKET if _IS_WHOLE else _socket.SOCK_STREAM
_LENGTH = 4  # bytes
_NO_SIGNAL = getattr(_socket, "MSG_NOSIGNAL", 0) if LINUX else 0  # the interpreter ignores it, unless told otherwise
_CLOSE_ON_EXEC = getattr(_socket, "MSG_CMSG_CLOEXEC", 0) if LINUX else 0


class Channel(_socket.socket):
    """Our end of a socketpair that carries whole messages. A program may close it, and its number be another's then."""

    __slots__ = ("_ours",)

    def __init__(self, sock: Socket) -> None:
        fd = sock.detach()
        super().__init__(_socket.AF_UNIX, _KIND, 0, fd)
        self.settimeout(None)  # whatever socket.setdefaulttimeout says
        self._ours = LongLived(fd)

    def is_there(self) -> bool:
        """Return whether its descriptor is still its own."""
        return self._ours.is_there()

    def close(self) -> None:
        """Close it, if it is still there."""
        if self._ours.is_there():
            super().close()
        else:
            self.detach()


def socketpair() -> tuple[Channel, Socket]:
    """Return two connected sockets that carry whole messages: the end to keep, and the one to pass on."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _KIND)
    return Channel(ours), theirs


def send_job(sock: Socket, job: dict[str, Any], fds: list[int]) -> None:
    """Send a job to a child that waits. Raises BrokenPipeError or ConnectionResetError if it is gone."""
    job["fds"] = len(fds)
    packet = marshal.dumps((len(fds), job))
    if len(packet) <= _INLINE and len(fds) <= _FDS_IN_A_PACKET:
        _send_packet(sock, packet, fds)
        return
    file = file_with("polyproc-job", marshal.dumps(job))
    try:
        send(sock, None, [file, *fds])
    finally:
        os.close(file)


def receive_job(sock: Socket) -> tuple[dict[str, Any], list[int]]:
    """Receive a job and its descriptors. Raises EOFError when there will be none."""
    job, fds = receive(sock)
    if job is None:
        if not fds:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        file = fds.pop(0)
        job = marshal.loads(pread_all(file, os.fstat(file).st_size, 0))
        os.close(file)
    if len(fds) < job["fds"]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return job, fds


def send(sock: Socket, message: Any, fds: list[int]) -> None:
    """Send a message of plain values with descriptors, in as many packets as they need."""
    first, rest = fds[:_FDS_IN_A_PACKET], fds[_FDS_IN_A_PACKET:]
    _send_packet(sock, marshal.dumps((len(fds), message)), first)
    while rest:
        first, rest = rest[:_FDS_IN_A_PACKET], rest[_FDS_IN_A_PACKET:]
        _send_packet(sock, b"+", first)


def _send_packet(sock: Socket, data: bytes, fds: list[int]) -> None:
    if isinstance(sock, Channel) and not sock.is_there():
        raise ConnectionResetError("this program has closed the fork server's socket")
    packed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
    if not _IS_WHOLE:
        data = len(data).to_bytes(_LENGTH, sys.byteorder) + data
    count = sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)] if fds else [], _NO_SIGNAL)
    if count < len(data):
        sock.sendall(data[count:], _NO_SIGNAL)


_GONE = "the other side of the fork server's socket is gone"


def receive(sock: Socket) -> tuple[Any, list[int]]:
    """Receive a message and its descriptors, close-on-exec. Raises EOFError when the other side is gone.

    There are fewer descriptors than were sent when this process has no room for more (EMFILE): the kernel drops them.
    """
    data, fds = _receive_packet(sock)
    count, message = marshal.loads(data)
    for _ in range(1, -(-count // _FDS_IN_A_PACKET)):
        fds += _receive_packet(sock)[1]
    return message, fds


def _receive_packet(sock: Socket) -> tuple[bytes, list[int]]:
    if isinstance(sock, Channel) and not sock.is_there():
        raise EOFError("this program has closed the fork server's socket")
    size = _PACKET_SIZE if _IS_WHOLE else _LENGTH
    data, ancillary, _, _ = sock.recvmsg(size, _socket.CMSG_SPACE(4 * _FDS_IN_A_PACKET), _CLOSE_ON_EXEC)
    if not data:
        raise EOFError(_GONE)
    fds = []
    for level, kind, packed in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += [int.from_bytes(packed[i : i + 4], sys.byteorder) for i in range(0, len(packed) - 3, 4)]
    if not _CLOSE_ON_EXEC:
        close_on_exec(*fds)
    return data if _IS_WHOLE else _rest(sock, data), fds


def _rest(sock: Socket, data: bytes) -> bytes:
    """Receive the message whose length begins with `data`."""
    data += _exactly(sock, _LENGTH - len(data))
    return _exactly(sock, int.from_bytes(data, sys.byteorder))


def _exactly(sock: Socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError(_GONE)
        data += piece
    return data
