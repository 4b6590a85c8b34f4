"""Coroutine methods of a connection. What is half received when its task is cancelled goes to the next receiver."""

from __future__ import annotations

from polyproc._aio.loops import AioView, OwnerThread, ThreadResult, Ticks, readable
from polyproc._base.errors import BufferTooShort
from polyproc._base.typing import Any, Generic, TypeVar
from polyproc._pickling.pickler import dumps_through, loads

SendT = TypeVar("SendT")
RecvT = TypeVar("RecvT")


class AsyncConnection(AioView, Generic[SendT, RecvT]):
    """A connection, for one task that receives and any number that send.

    Messages are read and written in two threads, so that a slow peer stops nobody. A task that is cancelled while it
    sends does not stop what has begun.
    """

    def __init__(self, of: Any) -> None:
        super().__init__(of)
        self._owners: tuple[OwnerThread, OwnerThread] | None = None
        self._coming: ThreadResult | None = None  # a message that is being read
        self._is_receiving = False

    def _in_owner(self, number: int, function: Any) -> ThreadResult:
        if self._owners is None:
            self._owners = OwnerThread(), OwnerThread()
        return self._owners[number].do(function)

    async def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive a message as bytes. Raises EOFError, and OSError if it is longer than `maxlength`."""
        if maxlength is not None and maxlength < 0:
            raise ValueError("negative maxlength")
        if self._is_receiving:
            raise RuntimeError("another task is receiving from this connection")
        connection, self._is_receiving = self._of, True
        try:
            if self._coming is None:
                connection.poll(0)  # raises what is to be raised
                await readable(connection.fileno())
                self._coming = self._in_owner(0, connection.recv_bytes)
            await self._coming.over()
            coming, self._coming = self._coming, None
        finally:
            self._is_receiving = False
        data: bytes = await coming.wait()
        if maxlength is not None and len(data) > maxlength:
            connection.close()
            raise OSError("bad message length")
        return data

    async def recv(self) -> RecvT:
        """Receive an object. Raises EOFError when nothing is left and the other end is closed."""
        message: RecvT = loads(await self.recv_bytes())
        return message

    async def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Receive a message into a writable buffer; return its length. BufferTooShort carries one that is too long."""
        view = memoryview(buf).cast("B")
        if offset < 0 or offset > len(view):
            raise ValueError("negative offset" if offset < 0 else "offset too large")
        data = await self.recv_bytes()
        if len(view) - offset < len(data):
            raise BufferTooShort(data)
        view[offset : offset + len(data)] = data
        return len(data)

    async def send(self, obj: SendT) -> None:
        """Send an object that can be pickled."""
        await self.send_bytes(dumps_through(obj, self._of.fileno))

    async def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send the bytes of a bytes-like object as one message."""
        await self._in_owner(1, lambda: self._of.send_bytes(buf, offset, size)).wait()

    async def close(self) -> None:
        """Close this end in this process."""
        self._of.close()

    async def fileno(self) -> int:
        """Return the descriptor."""
        fd: int = self._of.fileno()
        return fd

    async def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether something can be received, waiting up to `timeout` seconds; None waits without limit."""
        if self._coming is not None:
            return True
        found: bool = self._of.poll(0)
        ticks = Ticks(timeout)
        return found or (not ticks.is_over() and await readable(self._of.fileno(), ticks.left()))
