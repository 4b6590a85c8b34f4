"""The connection of a handle's process to the server of its object: the messages of any connection, and two kinds more.

    pickle                                     as on any connection
    0 | sizes of buffers | pickle              then the buffers, a message each
    1 | pickle                                 what became of an item of which nothing is said otherwise

Buffers are sent from where they are, and received into the memory that the object will have.

An item for a queue without a limit may be sent ahead: its sender does not wait for an answer. It does so only while the
server has answered about this queue a moment ago, and for so many bytes. So there is nothing unread here when its
process is killed, and the kernel delivers what was sent. Who closes the connection waits until the server has all.
"""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
import os
import sys
import time

from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._connection.connection import Connection, connection_of
from polyproc._connection.portable_connection import UNREAD
from polyproc._connection.tls import TlsConnection
from polyproc._managers.links import HERE, RETURN
from polyproc._pickling.pickler import dumps_through

if native:
    from polyproc._core import dumps_plain

if TYPE_CHECKING:
    Base = Connection[Any, Any]
else:
    Base = object

_BUFFERS, _FAILED = b"\0", b"\1"
_SIZE = 8  # bytes of a size
_RECORD = 1 << 14  # bytes of the largest record of TLS
_FRESH = 0.005  # seconds for which what the server has answered about a queue is taken for true
_CREDIT = 1 << 18  # bytes that are sent ahead, and what an item counts for beside its own
_ITEM = 256
_MAX_QUEUES = 64
_SETTLING = 5.0  # seconds for the server to take what was sent ahead, when the connection is closed


class WholeMessage:
    """A pickle and its buffers, as received."""

    __slots__ = ("buffers", "data")

    def __init__(self, data: memoryview, buffers: list[bytearray]) -> None:
        self.data, self.buffers = data, buffers


class ServerLink(Base):
    """What plain and encrypted ones have in common."""

    _pid = 0
    _ahead = 0  # bytes that the server may not have
    _until: dict[str, float]  # until when items for a queue may be sent ahead
    _failures: dict[str, tuple[str, Any]]  # what became of such an item, by its queue

    def send(self, obj: Any, /) -> None:
        """Send an object."""
        data = dumps_plain(obj) if native else None
        if data is not None:
            self._send_bytes(data)
            return
        apart: list[memoryview] = []
        data = dumps_through(obj, self.fileno, 5, apart)
        if not apart:
            self.send_bytes(data)
            return
        sizes = [len(apart), *(view.nbytes for view in apart)]
        try:
            self.send_bytes(b"".join((_BUFFERS, *(size.to_bytes(_SIZE, "big") for size in sizes), data)))
            for view in apart:
                self.send_bytes(view)
        except BaseException:  # also a signal handler's: what came next would be taken for a buffer
            super().close()
            raise

    def recv_bytes(self, maxlength: int | None = None) -> Any:
        """Receive a message: bytes, or a WholeMessage."""
        data = super().recv_bytes(maxlength)
        while data[:1] == _FAILED:
            ident, answer = pickle.loads(memoryview(data)[1:])
            self._failures[ident] = answer
            data = super().recv_bytes(maxlength)
        return data if data[:1] != _BUFFERS else self._whole(memoryview(data))

    def _whole(self, data: memoryview) -> WholeMessage:
        def size(number: int) -> int:
            return int.from_bytes(data[1 + number * _SIZE : 1 + (number + 1) * _SIZE], "big")

        try:
            if (size(0) + 1) * _SIZE >= len(data):
                raise OSError("a message is too short for the sizes of its buffers")
            buffers = [bytearray(size(number)) for number in range(1, size(0) + 1)]
            for buffer in buffers:
                self.recv_bytes_into(buffer)
        except BaseException:
            super().close()
            raise
        return WholeMessage(data[1 + (len(buffers) + 1) * _SIZE :], buffers)

    def recv(self) -> Any:
        """Receive an object."""
        return self._loads(self.recv_bytes())

    @staticmethod
    def _loads(data: Any) -> Any:
        if type(data) is WholeMessage:
            return pickle.loads(data.data, buffers=data.buffers)
        return pickle.loads(data)

    # -- items that are sent ahead ---------------------------------------------------------------------------------

    def note_answered(self, ident: str) -> None:
        """Note that the server has answered about a queue: it has all that was sent before, and may be sent more."""
        if len(self._until) >= _MAX_QUEUES:
            self._until.clear()
        self._until[ident] = time.monotonic() + _FRESH
        self._ahead = 0

    def tell(self, ident: str, item: Any) -> bool:
        """Send an item ahead, if that may be; return whether it was. Raises OSError when the server is gone."""
        size = len(item) + _ITEM
        if self._ahead + size > _CREDIT or self._until.get(ident, 0.0) < time.monotonic():
            return False
        self._ahead += size
        self.send((ident, item))
        return True

    def send_failure(self, ident: str, answer: tuple[str, Any]) -> None:
        """Tell the sender, in the server, what became of an item that was sent ahead."""
        self.send_bytes(_FAILED + pickle.dumps((ident, answer)))

    def failure_of(self, ident: str) -> tuple[str, Any] | None:
        """Return, once, what became of an item that was sent ahead for a queue, if it is not there."""
        return self._failures.pop(ident, None)

    def settle(self) -> None:
        """Wait until the server has all that was sent ahead; say what it has not taken."""
        if not self._ahead or self._pid != os.getpid() or self.closed:  # a forked child's was its parent's
            return
        self._ahead = 0
        try:
            self.send((None, HERE, ("",), {}))
            while self.poll(_SETTLING):
                if self.recv() == (RETURN, ""):
                    break
        except (OSError, EOFError):  # the server has ended
            pass
        for _, error in self._failures.values():
            if sys.stderr is not None:
                sys.stderr.write(f"an item that was put last is not in its queue: {error}\n")

    def close(self) -> None:
        """Close it, when the server has all."""
        self.settle()
        super().close()

    def __del__(self) -> None:
        self.close()


class PlainLink(ServerLink, Connection[Any, Any]):
    """A plain one."""


class EncryptedLink(ServerLink, TlsConnection):
    """An encrypted one: a message that is one record is received by one call."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._record = bytearray(_RECORD)
        self._rest = memoryview(b"")  # of a record of which more was received than was asked for

    def _recv_message(self, handle: int, maxlength: int | None) -> bytearray:
        record = self._record
        if self._rest or maxlength is not None:
            return super()._recv_message(handle, maxlength)
        record[: len(UNREAD)] = UNREAD
        try:
            count = super()._read_into(handle, memoryview(record))
            if not count:
                raise EOFError
            if count - len(UNREAD) == int.from_bytes(record[: len(UNREAD)], "big"):
                return record[len(UNREAD) : count]
            self._rest = memoryview(bytes(record[:count]))
            return super()._recv_message(handle, maxlength)
        except BaseException:
            self._close_torn(record[: len(UNREAD)])
            raise

    def _read_into(self, handle: int, view: memoryview) -> int:
        if not self._rest:
            return super()._read_into(handle, view)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether something can be received, waiting up to `timeout` seconds; None waits without limit."""
        return bool(self._rest) or super().poll(timeout)


def link_of(sock: Any, is_encrypted: bool) -> ServerLink:
    """Return the connection that has a socket from now on."""
    made: Any = EncryptedLink(sock) if is_encrypted else connection_of(sock, PlainLink)
    made._pid, made._until, made._failures = os.getpid(), {}, {}
    return made  # type: ignore[no-any-return]
