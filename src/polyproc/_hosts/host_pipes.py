"""Pipes of a remote context: ends for processes on any host, for two streams in the process that made them."""

from __future__ import annotations

import os
import queue
import threading
from types import TracebackType

from polyproc._aio.loops import AioView
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Self
from polyproc._hosts.host_objects import handle_for
from polyproc._hosts.parcels import LARGE, Parcel, pack, unpack
from polyproc._managers.async_proxy import by_link, call
from polyproc._managers.proxies import BaseProxy
from polyproc._platform.handles import WakePipe, ready

if TYPE_CHECKING:
    from polyproc._hosts.object_server import ObjectServer

# Stands for the end behind the last message. A message is not empty: its first byte, or its first part, says how it was
# sent.
_END = b""
_ROOM = 1 << 20  # bytes on their way, from which on a sender waits
_OBJECT, _BYTES = b"o", b"b"
Message = bytes | Parcel


class Stream(queue.Queue[Message]):
    """Messages on their way from one end of a pipe to the other; its size is in bytes."""

    def __init__(self) -> None:
        super().__init__(_ROOM)
        self.mutex: Any = threading.RLock()  # an end may be let go by a collection of garbage in the middle of a call
        self.not_empty, self.not_full = threading.Condition(self.mutex), threading.Condition(self.mutex)
        self.all_tasks_done = threading.Condition(self.mutex)
        self._bytes = 0
        self.has_reader = True

    def _qsize(self) -> int:
        return self._bytes

    def _put(self, item: Message) -> None:
        if not self.has_reader:
            raise BrokenPipeError("the other end of the pipe was closed")
        self._bytes += max(len(item), 1)
        super()._put(item)

    def _get(self) -> Message:
        item: Message = super()._get()
        self._bytes -= max(len(item), 1)
        return item

    def put_back(self, item: Message) -> None:
        """Put back, at the head, what was taken for a receiver that has gone."""
        with self.mutex:
            self.queue.appendleft(item)
            self._bytes += max(len(item), 1)
            self.not_empty.notify()

    def poll(self, timeout: float | None) -> bool:
        """Wait until there is something to get."""
        with self.not_empty:
            return bool(self.not_empty.wait_for(lambda: self._bytes, timeout))

    def end(self) -> None:
        """Tell the other end that nothing more is sent."""
        with self.mutex:
            if self.has_reader:
                self._put(_END)
                self.not_empty.notify()

    def leave(self) -> None:
        """Tell the other end that nothing more is received."""
        with self.mutex:
            self.has_reader = False
            self.not_full.notify_all()
            self.queue.clear()
            self._bytes = 0


class PipeEnd:
    """One end of a pipe: what it receives and what it sends. When nobody refers to it any more, the other is told."""

    def __init__(self, incoming: Stream | None, outgoing: Stream | None) -> None:
        self.incoming, self.outgoing = incoming, outgoing

    def __del__(self) -> None:
        if self.outgoing is not None:
            self.outgoing.end()
        if self.incoming is not None:
            self.incoming.leave()


class HostStream(BaseProxy):
    """A direction of a pipe."""

    _exposed_ = ("put", "get", "poll")

    def put(self, message: Message) -> None:
        """Send a message, as it is now."""
        if self._owner is not None and isinstance(message, Parcel):
            message = message.copied()
        self._callmethod("put", (message,))


class HostEnd(BaseProxy):
    """A reference to an end of a pipe."""

    _exposed_ = ("__doc__",)


class HostConnection:
    """One end of a pipe between hosts: as `Connection`. It has a descriptor once somebody asks, to wait for it."""

    _readiness: Readiness | None = None

    def __init__(self, end: HostEnd, incoming: HostStream | None, outgoing: HostStream | None) -> None:
        self._end: HostEnd | None = end
        self._incoming, self._outgoing = incoming, outgoing

    @property
    def closed(self) -> bool:
        """Whether it was closed here."""
        return self._end is None

    @property
    def readable(self) -> bool:
        """Whether one can receive."""
        return self._incoming is not None

    @property
    def writable(self) -> bool:
        """Whether one can send."""
        return self._outgoing is not None

    def send(self, obj: Any) -> None:
        """Send an object."""
        self._writable().put(message_of(obj))

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send the bytes of a bytes-like object as one message."""
        self._writable().put(message_of_bytes(buf, offset, size))

    def _writable(self) -> HostStream:
        if self._end is None:
            raise OSError("handle is closed: close() was called in this process")
        if self._outgoing is None:
            raise OSError("connection is read-only: of Pipe(duplex=False) the second end sends")
        return self._outgoing

    def recv(self) -> Any:
        """Receive an object. Raises EOFError when the other end has no holder any more."""
        return opened(self._receive())

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive a message of bytes."""
        return self._limited(bytes_of(self._receive()), maxlength)

    def _limited(self, data: bytes, maxlength: int | None) -> bytes:
        if maxlength is not None and len(data) > maxlength:
            self.close()
            raise OSError("bad message length")
        return data

    def _receive(self) -> Message:
        stream = self._readable()
        message: Message = stream._callmethod("get")
        if message == _END:
            stream._callmethod("put", (_END, False))  # for whoever asks next
        return self._received(message)

    def _received(self, message: Message) -> Message:
        if message == _END:
            raise EOFError
        if self._readiness is not None:
            self._readiness.note_received()
        return message

    def _readable(self) -> HostStream:
        if self._end is None:
            raise OSError("handle is closed: close() was called in this process")
        if self._incoming is None:
            raise OSError("connection is write-only: of Pipe(duplex=False) the first end receives")
        return self._incoming

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether something, or the end, can be received, waiting up to `timeout` seconds."""
        return bool(self._readable()._callmethod("poll", (timeout,)))

    @property
    def aio(self) -> AsyncHostConnection:
        """The methods as coroutines, for asyncio and trio: `await connection.aio.recv()`."""
        return AsyncHostConnection(self)

    def fileno(self) -> int:
        """Return a descriptor that is readable when something, or the end, can be received. Do not read from it."""
        stream = self._readable()
        found = self._readiness
        if found is None or found.pid != os.getpid():
            found = self._readiness = Readiness(lambda seconds: stream._callmethod("poll", (seconds,)))
        return found.fd

    def close(self) -> None:
        """Close this end; the other sees the end when all holders have closed it."""
        self._end = None
        found, self._readiness = self._readiness, None
        if found is not None and found.pid == os.getpid():
            found.close()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_readiness"}

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class AsyncHostConnection(AioView):
    """An end's methods as coroutines, for any number of tasks. A call that is cancelled takes nothing."""

    async def send(self, obj: Any) -> None:
        """Send an object."""
        await self._ask(self._of._writable(), "put", message_of(obj))

    async def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send the bytes of a bytes-like object as one message."""
        await self._ask(self._of._writable(), "put", message_of_bytes(buf, offset, size))

    async def recv(self) -> Any:
        """Receive an object. Raises EOFError when the other end has no holder any more."""
        return opened(await self._receive())

    async def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive a message of bytes."""
        found: bytes = self._of._limited(bytes_of(await self._receive()), maxlength)
        return found

    async def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether something, or the end, can be received, waiting up to `timeout` seconds."""
        return bool(await self._ask(self._of._readable(), "poll", timeout))

    async def close(self) -> None:
        """Close this end in this process."""
        self._of.close()

    async def _receive(self) -> Message:
        stream = self._of._readable()
        message: Message = await self._ask(stream, "get")
        if message == _END:
            await self._ask(stream, "put", _END, False)
        received: Message = self._of._received(message)
        return received

    async def _ask(self, stream: HostStream, method: str, *args: Any) -> Any:
        proxy = by_link(stream)
        return await call(proxy, lambda: proxy._callmethod(method, args))


def message_of(obj: Any) -> Message:
    """Return what is sent for an object."""
    packed = pack(obj)
    return Parcel(_OBJECT, *packed.parts) if isinstance(packed, Parcel) else _OBJECT + packed


def message_of_bytes(buf: Any, offset: int = 0, size: int | None = None) -> Message:
    """Return what is sent for bytes."""
    view = memoryview(buf).cast("B")
    size = len(view) - offset if size is None else size
    if offset < 0 or size < 0 or offset + size > len(view):
        raise ValueError("buffer length < offset + size")
    view = view[offset : offset + size]
    return Parcel(_BYTES, view) if size >= LARGE else _BYTES + bytes(view)


def opened(message: Message) -> Any:
    """Return the object of a message."""
    if isinstance(message, bytes):
        return unpack(memoryview(message)[1:]) if message[:1] == _OBJECT else message[1:]
    kind, *parts = message.parts
    return unpack(Parcel(*parts)) if bytes(kind) == _OBJECT else bytes(parts[0])


def bytes_of(message: Message) -> bytes:
    """Return the bytes of a message; of an object those of its pickle."""
    return message[1:] if isinstance(message, bytes) else bytes(message.parts[1])


def pipe(server: ObjectServer, duplex: bool) -> tuple[HostConnection, HostConnection]:
    """Make two connected ends; without `duplex` the first only receives and the second only sends."""
    there, back = Stream(), Stream() if duplex else None
    ends = (PipeEnd(there, back), PipeEnd(back, there))
    handles = {id(stream): handle_for(server, HostStream, stream) for stream in (there, back) if stream is not None}
    first, second = (
        HostConnection(
            handle_for(server, HostEnd, end),
            None if end.incoming is None else handles[id(end.incoming)],
            None if end.outgoing is None else handles[id(end.outgoing)],
        )
        for end in ends
    )
    return first, second


# A descriptor that is readable while there is something to receive by what has none: `wait` and selectors want one.

_SLICE = 0.25  # seconds between two looks whether anybody wants to know


class Readiness:
    """Has a thread wait for the next message, and makes a descriptor readable when it is there.

    What others receive who hold the same end may leave it readable, as a queue's descriptor.
    """

    def __init__(self, poll: Callable[[float], Any]) -> None:
        self.pid = os.getpid()
        self._poll = poll
        self._pipe = WakePipe()
        self.fd = self._pipe.fd
        self._lock = threading.Lock()
        self._received = 0  # messages, here: what was seen before one was received is seen no more
        self._look = threading.Event()
        self._look.set()
        self._has_ended = False
        threading.Thread(target=self._run, name="polyproc-readiness", daemon=True).start()

    def _run(self) -> None:
        try:
            while not self._has_ended:
                self._look.wait()
                received = self._received
                try:
                    there = self._poll(_SLICE)
                except (OSError, EOFError):  # the server has gone: to receive says so
                    there = True
                with self._lock:
                    if there and received == self._received:
                        self._look.clear()
                        self._pipe.wake()
        finally:
            self._pipe.close()

    def note_received(self) -> None:
        """Note that a message was received: whether there is another has to be seen."""
        with self._lock:
            self._received += 1
            if not self._has_ended and ready([self.fd], 0):
                self._pipe.drain()
        self._look.set()

    def close(self) -> None:
        """End the thread, which gives the descriptor back."""
        self._has_ended = True
        with self._lock:
            self._received += 1
        self._look.set()
