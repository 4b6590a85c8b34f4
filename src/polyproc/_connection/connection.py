"""Connection: one end of a pipe. The C core's where it is there, else the portable one; chosen once, here."""

from __future__ import annotations

import _socket
import itertools

from polyproc._base.modules import kind_of, of_kind, os, public
from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING, Any, Generic, TypeVar
from polyproc._pickling import sending
from polyproc._pickling.sending import sent_fds
from polyproc._platform.handles import HeldBack
from polyproc._platform.posix import IS_WINDOWS

if TYPE_CHECKING:
    from polyproc._connection.async_connection import AsyncConnection

if TYPE_CHECKING or native:
    from polyproc._core import Connection as Base
else:
    from polyproc._connection.portable_connection import PortableConnection as Base
SendT = TypeVar("SendT")
RecvT = TypeVar("RecvT")


@public("connection")
class Connection(Base, Generic[SendT, RecvT]):
    """Framed messages over a pipe or a stream socket, in the standard library's wire format: either end may be its.

    Sending blocks while the other end does not read and the kernel's buffer is full; receiving blocks until a message
    is there. When the other end's last holder has ended, however, `recv` raises EOFError and `send` BrokenPipeError.
    A message that was sent in part when its sender was killed is reported as the end: EOFError. After any other
    exception in the middle of a message the connection is closed, since its next bytes would be taken for a header.

    It can be sent to another process: to a child with its start, and at any time through a connection or a queue.
    """

    @property
    def aio(self) -> AsyncConnection[SendT, RecvT]:
        """The methods as coroutines, for asyncio and trio: `await connection.aio.recv()`; the same object each time."""
        made: AsyncConnection[SendT, RecvT] | None = self.__dict__.get("_aio")
        if made is None:
            from polyproc._connection.async_connection import AsyncConnection

            made = self.__dict__["_aio"] = AsyncConnection(self)
        return made

    if TYPE_CHECKING:

        def send(self, obj: SendT, /) -> None:
            """Send an object."""

        def recv(self) -> RecvT:
            """Receive an object."""
            ...

    def __reduce__(self) -> tuple[Any, ...]:
        state: tuple[Any, ...] = kind_of(self), sent_fds(self.fileno()), self.readable, self.writable
        if native and sending.current() is not None and self._where() is not None:
            from polyproc._pickling.chunk import where

            state += where(self), self._side()
        return _rebuild, state


def _rebuild(
    kind: type | str, sent: Any, readable: bool, writable: bool, place: Any = None, side: int = 0
) -> Connection[Any, Any]:
    [fd] = sent.detach()
    connection: Connection[Any, Any] = of_kind(kind)(fd, readable, writable)
    if place is not None and native:
        chunk, offset = place
        connection._join(chunk.id, offset, side)
    return connection


def own_socket(sock: Any) -> Any:
    """Return the interpreter's own socket that is inside of one of gevent's or eventlet's, or the socket itself."""
    while not isinstance(sock, _socket.socket):
        inside = getattr(sock, "_sock", sock)  # gevent's
        sock = inside if inside is not sock else sock.fd  # eventlet's
    return sock


def connection_of(sock: Any, kind: type[Connection[Any, Any]] = Connection) -> Connection[Any, Any]:
    """Return a connection of a class that has a socket's descriptor from now on, and which blocks.

    Whatever the class of sockets says of that: a library may have replaced it, or set a default time limit. When a
    signal handler raises meanwhile nothing is lost: no code of Python runs while the descriptor is nobody's.
    """
    os.set_blocking(sock.fileno(), True)
    if not hasattr(type(sock), "detach"):  # eventlet's
        sock = own_socket(sock)
    detach: Any = _socket.socket.detach if isinstance(sock, _socket.socket) else type(sock).detach
    connection: Connection[Any, Any]
    if native:
        [connection] = map(kind, itertools.starmap(detach, [(sock,)]))
    else:
        with HeldBack():
            connection = kind(detach(sock))
    return connection


# Pipe(): two connected ends.


def Pipe(duplex: bool = True) -> tuple[Connection[Any, Any], Connection[Any, Any]]:
    """Return two connected ends; without `duplex` the first only receives and the second only sends."""
    first, second = plain_pipe(duplex)
    if native:
        try:
            first._meet(second, int(not duplex))
        except OSError:  # no descriptor is left for shared memory: all goes through the kernel
            pass
    return first, second


def plain_pipe(duplex: bool = True) -> tuple[Connection[Any, Any], Connection[Any, Any]]:
    """Return two such ends that share no memory, for what is said once."""
    if duplex and IS_WINDOWS:
        from polyproc._base.modules import pipe  # type: ignore[attr-defined]  # seen on Windows alone

        ends: Any = pipe(True)
        return Connection(ends[0]), Connection(ends[1])
    if duplex:
        first, second = _socket.socketpair()  # and not what somebody may have put in place of socket.socketpair
        return connection_of(first), connection_of(second)
    with HeldBack():
        read_fd, write_fd = os.pipe()
        reader: Connection[Any, Any] = Connection(read_fd, writable=False)
        writer: Connection[Any, Any] = Connection(write_fd, readable=False)
    return reader, writer
