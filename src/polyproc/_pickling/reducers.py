"""What programs take of `multiprocessing.reduction`, and the library does without: handles over sockets, reducers.

A descriptor crosses to a process that runs already over a Unix socket (SCM_RIGHTS, unix(7)). The reducers have the
standard library's private names: picklers of others, as dill's, use them.
"""

from __future__ import annotations

import functools
import os
import socket
from array import array

from polyproc._base.modules import public
from polyproc._base.typing import Any, Final, Sequence
from polyproc._pickling import pickler, sending
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


def _reduce_method(method: Any) -> tuple[Any, ...]:
    return getattr, (method.__self__, method.__func__.__name__)


def _reduce_method_descriptor(descriptor: Any) -> tuple[Any, ...]:
    return getattr, (descriptor.__objclass__, descriptor.__name__)


def _reduce_partial(partial: functools.partial[Any]) -> tuple[Any, ...]:
    return _rebuild_partial, (partial.func, partial.args, partial.keywords or {})


def _rebuild_partial(func: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> functools.partial[Any]:
    return functools.partial(func, *args, **keywords)


@public("reduction")
class AbstractReducer:
    """The class that a program may extend to change how objects are pickled: `context.reducer`."""

    ForkingPickler = pickler.ForkingPickler
    register: Final = staticmethod(pickler.register)
    dump: Final = staticmethod(pickler.dump)
    send_handle: Final = staticmethod(send_handle)
    recv_handle: Final = staticmethod(recv_handle)
    DupFd: Final = staticmethod(sending.DupFd)

    def __init__(self, *args: Any) -> None:
        pass
