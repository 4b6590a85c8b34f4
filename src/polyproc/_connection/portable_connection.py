"""The portable connection: framed messages over a pipe or a stream socket, in the standard library's wire format.

    message of n bytes:  n as 4 bytes, big-endian, signed | n bytes              n <= 0x7fffffff
                         -1 as 4 bytes | n as 8 bytes, big-endian | n bytes      larger

A message goes out in one writev(2) where the kernel takes it. What bytes go through is a matter of `_read_into`,
`_write` and `_shut`, which a subclass overrides for a socket that encrypts.
"""

from __future__ import annotations

import operator
import pickle
from types import TracebackType

from polyproc._base.errors import BufferTooShort
from polyproc._base.modules import os
from polyproc._base.typing import Any, Callable, Self
from polyproc._connection.wait import wait
from polyproc._pickling.pickler import dumps_through
from polyproc._platform.handles import PIPE_BUF, POLLIN, POLLOUT, HeldBack, may_switch, ready

_LARGEST_SHORT = 0x7FFFFFFF
_AT_ONCE = 1 << 30  # bytes of one call: more than an int holds, and macOS refuses it
_MAX_BITS = 47  # of an address: no process has memory for more
# Memory that is taken for a message before any of it is there. All is taken when an eighth has come, an eighth when an
# eighth of that has: a header that lies costs this, and what is copied is a seventh of the message in all.
_AT_ONCE = 1 << 20
UNREAD = b"\xff\xff\xff\xfe"  # what no header is: one that still is this was not read


class PortableConnection:
    """`Connection` without the C core."""

    _handle: int | None = None

    def __init__(self, handle: int, readable: bool = True, writable: bool = True) -> None:
        handle = operator.index(handle)
        if handle < 0:
            raise ValueError("invalid handle")
        if not readable and not writable:
            raise ValueError("at least one of `readable` and `writable` must be True")
        self._handle = handle
        self._readable = readable
        self._writable = writable

    def __del__(self) -> None:
        if self._handle is not None:
            self._close()

    # -- state -----------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the connection is closed."""
        return self._handle is None

    @property
    def readable(self) -> bool:
        """Whether one can receive."""
        return self._readable

    @property
    def writable(self) -> bool:
        """Whether one can send."""
        return self._writable

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._open()

    def close(self) -> None:
        """Close this end; the other sees the end when all holders have closed it."""
        with HeldBack():
            self._close()

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self._shut(handle)

    def _open(self) -> int:
        if self._handle is None:
            raise OSError("handle is closed: close() was called in this process")
        return self._handle

    def _to_read(self) -> int:
        handle = self._open()
        if not self._readable:
            raise OSError("connection is write-only: of Pipe(duplex=False) the first end receives")
        return handle

    def _to_write(self) -> int:
        handle = self._open()
        if not self._writable:
            raise OSError("connection is read-only: of Pipe(duplex=False) the second end sends")
        return handle

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, obj: Any, /) -> None:
        """Send an object that can be pickled."""
        self._to_write()
        self._send_bytes(dumps_through(obj, self.fileno))

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send the bytes of a bytes-like object as one message."""
        self._to_write()
        view = memoryview(buf)
        if view.itemsize > 1:
            view = view.cast("B")
        length = view.nbytes
        if offset < 0:
            raise ValueError("offset is negative")
        if length < offset:
            raise ValueError("buffer length < offset")
        if size is None:
            size = length - offset
        elif size < 0:
            raise ValueError("size is negative")
        elif offset + size > length:
            raise ValueError("buffer length < offset + size")
        self._send_bytes(view[offset : offset + size])

    def _send_bytes(self, data: bytes | memoryview) -> None:
        length = len(data)
        if length > _LARGEST_SHORT:
            header = b"\xff\xff\xff\xff" + length.to_bytes(8, "big")
        else:
            header = length.to_bytes(4, "big")
        handle = self._open()
        try:
            written = self._write(handle, header, data)
            if written < len(header) + length:
                self._send_rest(handle, header, memoryview(data), written)
        except OSError:  # nothing was written; or it is closed
            raise
        except BaseException:  # of a signal handler: nobody knows what was written
            self._close()
            raise

    def _send_rest(self, handle: int, header: bytes, data: memoryview, written: int) -> None:
        try:
            while written < len(header):
                written += _patiently(self._write, handle, POLLOUT, header[written:], b"")
            view = data[written - len(header) :]
            while view:
                view = view[_patiently(self._write, handle, POLLOUT, b"", view) :]
        except BaseException:
            self._close()
            raise

    # -- receiving -------------------------------------------------------------------------------------------------

    def recv(self) -> Any:
        """Receive an object. Raises EOFError when nothing is left and the other end is closed."""
        return pickle.loads(self._recv_message(self._to_read(), None))

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive a message as bytes.

        Raises:
            EOFError: nothing is left and the other end is closed.
            OSError: the message is longer than `maxlength`; the connection cannot be read any more.
        """
        handle = self._to_read()
        if maxlength is not None and maxlength < 0:
            raise ValueError("negative maxlength")
        return bytes(self._recv_message(handle, maxlength))

    def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Receive a message into a writable bytes-like object; return its length.

        Raises:
            BufferTooShort: the message does not fit; it is `args[0]`.
        """
        handle = self._to_read()
        with memoryview(buf) as view:
            size = view.nbytes
            if view.readonly:
                raise TypeError("a writable bytes-like object is needed")
            if offset < 0:
                raise ValueError("negative offset")
            if offset > size:
                raise ValueError("offset too large")
            header = bytearray(UNREAD)
            too_long = None
            try:
                length = self._recv_header(handle, header)
                if size < offset + length:
                    too_long = self._recv_body(handle, length)
                else:
                    with view.cast("B") as target:
                        self._fill(handle, target[offset : offset + length])
            except BaseException:
                self._close_torn(header)
                raise
            if too_long is not None:
                raise BufferTooShort(bytes(too_long))
            return length

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether something can be received, waiting up to `timeout` seconds; None waits without limit."""
        self._to_read()
        return bool(wait([self], timeout))

    def _recv_message(self, handle: int, maxlength: int | None) -> bytearray:
        header = bytearray(UNREAD)
        try:
            length = self._recv_header(handle, header)
            if maxlength is None or length <= maxlength:
                return self._recv_body(handle, length)
        except BaseException:
            self._close_torn(header)
            raise
        if self._writable:
            self._readable = False
        else:
            self.close()
        raise OSError("bad message length")

    def _close_torn(self, header: bytearray) -> None:
        """After an exception, also a signal handler's: close it, unless nothing of a message was read."""
        if header != UNREAD:
            self._close()

    def _recv_header(self, handle: int, header: bytearray) -> int:
        """Read a header into `header`; return the message's length. EOFError where there is no more."""
        with memoryview(header) as view:
            count = self._read_into(handle, view)
            if not count:
                raise EOFError
            self._fill(handle, view[count:])
        length = int.from_bytes(header, "big", signed=True)
        if length >= 0:
            return length
        if length != -1:
            self._close()
            raise OSError("bad message length")
        large = bytearray(8)
        self._fill(handle, memoryview(large))
        return int.from_bytes(large, "big")

    def _recv_body(self, handle: int, length: int) -> bytearray:
        if length >> _MAX_BITS:
            raise MemoryError
        shift = 0
        while length >> shift > _AT_ONCE:
            shift += 3
        body = bytearray()
        while True:
            try:
                larger = bytearray(length >> shift)
            except OverflowError:
                raise MemoryError from None
            with memoryview(larger) as view:
                view[: len(body)] = body
                self._fill(handle, view[len(body) :])
            if not shift:
                return larger
            body = larger
            shift -= 3

    def _fill(self, handle: int, view: memoryview) -> None:
        while view:
            count = _patiently(self._read_into, handle, POLLIN, view[:_AT_ONCE])
            if not count:
                raise EOFError("got end of file during message")
            view = view[count:]

    # -- the descriptor --------------------------------------------------------------------------------------------

    def _read_into(self, handle: int, view: memoryview) -> int:
        if may_switch():
            ready([handle], None)
        return os.readv(handle, [view])

    def _write(self, handle: int, header: bytes, data: bytes | memoryview) -> int:
        if may_switch():  # no more than there is room for: the caller writes the rest, and waits again
            ready([handle], None, POLLOUT)
            data = memoryview(data)[: PIPE_BUF - len(header)]
        return os.writev(handle, (header, data if len(data) <= _AT_ONCE else memoryview(data)[:_AT_ONCE]))

    def _shut(self, handle: int) -> None:
        os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _patiently(act: Callable[..., Any], handle: int, events: int, *args: Any) -> Any:
    """Read or write in the middle of a message: wait where a descriptor that does not block would refuse."""
    while True:
        try:
            return act(handle, *args)
        except BlockingIOError:
            ready([handle], None, events)
