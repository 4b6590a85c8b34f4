"""Queues, locks, pipes and values of a remote context: handles for objects in the process that made them.

They have the methods of the local kinds, and travel to processes on any host. What is put is pickled by who puts it,
and opened by who gets it: the server keeps bytes. What a process held when it died is let go, and an item that it was
about to get goes back (_managers/serving.py).
"""

from __future__ import annotations

import ctypes
import os
import queue
import threading
import time
from types import TracebackType

from polyproc._base.errors import ProcessError
from polyproc._base.typing import TYPE_CHECKING, Any, ClassVar, Iterable, Iterator, Self
from polyproc._hosts.crossing import dumps_across
from polyproc._hosts.host_object import HostObject
from polyproc._hosts.object_server import SERIALIZER, HostToken
from polyproc._hosts.readiness import Readiness
from polyproc._hosts.served_kinds import Cell
from polyproc._managers.proxies import BarrierProxy, BaseProxy, ConditionProxy, EventProxy
from polyproc._pickling.pickler import loads
from polyproc._platform.handles import due
from polyproc._queues.closing import ShutDown

if TYPE_CHECKING:
    from polyproc._hosts.object_server import ObjectServer


def handle_for(server: ObjectServer, kind: type[Any], obj: Any) -> Any:
    """Return a handle of a class for a new object of a server in this process."""
    ident = server.adopt(obj, kind._exposed_)
    token = HostToken(kind.__name__, server.address, ident)
    handle = kind(token, SERIALIZER, authkey=server.authkey, incref=True)
    server.references.drop("", ident)  # by which it was kept until the handle refers to it
    return handle


# -- locks -------------------------------------------------------------------------------------------------------------


class HostLock(HostObject):
    """A lock. When the process that holds it dies, or its host is lost, it is unlocked."""

    _exposed_: tuple[str, ...] = ("acquire", "release", "locked")
    _unlocked: ClassVar[tuple[type[Exception], str]] = (ValueError, "semaphore or lock released too many times")

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire; wait for it up to `timeout` seconds, None without limit. Return whether it was got."""
        if not block:
            return bool(self._callmethod("acquire", (False,)))
        args = (True,) if timeout is None else (True, max(timeout, 0.0))
        return bool(self._callmethod("acquire", args))

    def release(self) -> None:
        """Release."""
        try:
            self._callmethod("release")
        except (RuntimeError, ValueError):
            kind, text = self._unlocked
            raise kind(text) from None

    def locked(self) -> bool:
        """Return whether somebody holds it."""
        return bool(self._callmethod("locked"))

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


class HostRLock(HostLock):
    """A lock that the thread that holds it may take again."""

    _exposed_ = ("acquire", "release")
    _unlocked = (AssertionError, "attempt to release recursive lock not owned by thread")


class HostSemaphore(HostLock):
    """A counter to wait for."""

    _exposed_ = ("acquire", "release", "get_value")

    def get_value(self) -> int:
        """Return the value."""
        return int(self._callmethod("get_value"))

    def locked(self) -> bool:
        """Return whether the next `acquire` would wait."""
        return self.get_value() == 0


class HostCondition(HostObject, ConditionProxy):
    """A condition to wait for."""

    _exposed_ = ConditionProxy._exposed_

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire its lock."""
        return super().acquire(block, timeout if block else None)


class HostEvent(HostObject, EventProxy):
    """A flag to wait for."""

    _exposed_ = EventProxy._exposed_


class HostBarrier(HostObject, BarrierProxy):
    """A place where processes wait for each other."""

    _exposed_ = BarrierProxy._exposed_


# -- queues ------------------------------------------------------------------------------------------------------------


class HostQueue(HostObject):
    """A queue for any number of producers and consumers."""

    _exposed_: tuple[str, ...] = (
        "put",
        "get",
        "qsize",
        "empty",
        "full",
        "task_done",
        "join",
        "shutdown",
    )
    _is_closed = False

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item. Raises what pickling raises, and queue.Full."""
        self._check_open()
        self._callmethod("put", (dumps_across(obj), block, timeout))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the next item; wait for it up to `timeout` seconds. Raises queue.Empty."""
        self._check_open()
        if timeout is not None and timeout < 0:
            timeout = 0.0
        return loads(self._callmethod("get", (block, timeout)))

    def put_nowait(self, obj: Any) -> None:
        """Put an item if there is room."""
        self.put(obj, False)

    def put_many(self, items: Iterable[Any], block: bool = True, timeout: float | None = None) -> None:
        """Put items in order; wait up to `timeout` seconds in all for places. Raises queue.Full."""
        deadline = None if timeout is None else due(timeout)
        for item in items:
            self.put(item, block, None if deadline is None else max(deadline - time.monotonic(), 0.0))

    def get_nowait(self) -> Any:
        """Take the next item if there is one."""
        return self.get(False)

    def qsize(self) -> int:
        """Return how many items there are."""
        return int(self._callmethod("qsize"))

    def empty(self) -> bool:
        """Return whether there is none."""
        return bool(self._callmethod("empty"))

    def full(self) -> bool:
        """Return whether there is no room."""
        return bool(self._callmethod("full"))

    def shutdown(self, immediate: bool = False) -> None:
        """End the queue for all processes, as `queue.Queue.shutdown` of Python 3.13 (needed without the core)."""
        self._callmethod("shutdown", (immediate,))

    def __iter__(self) -> Iterator[Any]:
        """Get items until the queue is shut down."""
        while True:
            try:
                item = self.get()
            except ShutDown:
                return
            yield item

    def close(self) -> None:
        """Put and get no more in this process."""
        self._is_closed = True

    def join_thread(self) -> None:
        """Do nothing: what was put is there."""

    def cancel_join_thread(self) -> None:
        """Do nothing."""

    def _check_open(self) -> None:
        if self._is_closed:
            raise ValueError(f"Queue {self!r} is closed")


class HostJoinableQueue(HostQueue):
    """A queue that counts its items until they are done."""

    def task_done(self) -> None:
        """Say that an item is done. Raises ValueError if it was said more often than there were items."""
        self._callmethod("task_done")

    def join(self) -> None:
        """Wait until all items are done."""
        self._callmethod("join")


class HostSimpleQueue(HostQueue):
    """A queue with few methods."""

    _exposed_ = ("put", "get", "empty")

    def put(self, obj: Any) -> None:  # type: ignore[override]  # as the standard library's
        """Put an item."""
        super().put(obj)

    def get(self) -> Any:  # type: ignore[override]
        """Wait for the next item and take it."""
        return super().get()


# -- pipes -------------------------------------------------------------------------------------------------------------

# Stands for the end behind the last message. A message is not empty: its first byte says how it was sent.
_END = b""
_ROOM = 1 << 20  # bytes on their way, from which on a sender waits
_OBJECT, _BYTES = b"o", b"b"


class Stream(queue.Queue[bytes]):
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

    def _put(self, item: bytes) -> None:
        if not self.has_reader:
            raise BrokenPipeError("the other end of the pipe was closed")
        self._bytes += max(len(item), 1)
        super()._put(item)

    def _get(self) -> bytes:
        item: bytes = super()._get()
        self._bytes -= max(len(item), 1)
        return item

    def poll(self, timeout: float | None) -> bool:
        """Wait until there is something to get."""
        with self.not_empty:
            return bool(self.not_empty.wait_for(lambda: self._bytes, timeout))

    def end(self) -> None:
        """Say that nothing more is sent."""
        with self.mutex:
            if self.has_reader:
                self._put(_END)
                self.not_empty.notify()

    def leave(self) -> None:
        """Say that nothing more is received."""
        with self.mutex:
            self.has_reader = False
            self.not_full.notify_all()
            self.queue.clear()
            self._bytes = 0


class PipeEnd:
    """One end: what it receives and what it sends. When nobody refers to it any more, the other hears of the end."""

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
        self._send(_OBJECT + dumps_across(obj))

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send the bytes of a bytes-like object as one message."""
        view = memoryview(buf).cast("B")
        size = len(view) - offset if size is None else size
        if offset < 0 or size < 0 or offset + size > len(view):
            raise ValueError("buffer length < offset + size")
        self._send(_BYTES + bytes(view[offset : offset + size]))

    def _send(self, data: bytes) -> None:
        if self._end is None:
            raise OSError("handle is closed: close() was called in this process")
        if self._outgoing is None:
            raise OSError("connection is read-only: of Pipe(duplex=False) the second end sends")
        self._outgoing._callmethod("put", (data,))

    def recv(self) -> Any:
        """Receive an object. Raises EOFError when the other end has no holder any more."""
        data = self._receive()
        return loads(memoryview(data)[1:]) if data[:1] == _OBJECT else data[1:]

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Receive a message of bytes."""
        data = self._receive()[1:]
        if maxlength is not None and len(data) > maxlength:
            self.close()
            raise OSError("bad message length")
        return data

    def _receive(self) -> bytes:
        stream = self._readable()
        data: bytes = stream._callmethod("get")
        if data == _END:
            stream._callmethod("put", (_END, False))  # for whoever asks next
            raise EOFError
        if self._readiness is not None:
            self._readiness.note_received()
        return data

    def _readable(self) -> HostStream:
        if self._end is None:
            raise OSError("handle is closed: close() was called in this process")
        if self._incoming is None:
            raise OSError("connection is write-only: of Pipe(duplex=False) the first end receives")
        return self._incoming

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether something, or the end, can be received, waiting up to `timeout` seconds."""
        return bool(self._readable()._callmethod("poll", (timeout,)))

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


# -- values ------------------------------------------------------------------------------------------------------------


class HostCell(HostObject):
    """A ctypes object in the process that made it."""

    _exposed_ = ("get", "set", "item", "set_item", "size")


class HostValue:
    """A value with a lock."""

    def __init__(self, cell: HostCell, lock: Any) -> None:
        self._cell, self._lock = cell, lock

    @property
    def value(self) -> Any:
        """The value."""
        return self._cell._callmethod("get", ("value",))

    @value.setter
    def value(self, value: Any) -> None:
        self._cell._callmethod("set", ("value", value))

    def get_lock(self) -> Any:
        """Return its lock."""
        if self._lock is None:
            raise AttributeError("it was made with lock=False")
        return self._lock

    def get_obj(self) -> Any:
        """Refuse: the memory is another host's."""
        raise ProcessError("get_obj() is for memory that is shared, which hosts do not: use its value or its elements")

    def acquire(self, *args: Any, **kwds: Any) -> bool:
        """Acquire its lock."""
        return bool(self.get_lock().acquire(*args, **kwds))

    def release(self) -> None:
        """Release its lock."""
        self.get_lock().release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


class HostArray(HostValue):
    """An array with a lock; of characters it also has `value` and `raw`."""

    @property
    def raw(self) -> Any:
        """The bytes."""
        return self._cell._callmethod("get", ("raw",))

    @raw.setter
    def raw(self, value: Any) -> None:
        self._cell._callmethod("set", ("raw", value))

    def __len__(self) -> int:
        return int(self._cell._callmethod("size"))

    def __getitem__(self, place: int | slice) -> Any:
        return self._cell._callmethod("item", (place,))

    def __setitem__(self, place: int | slice, value: Any) -> None:
        self._cell._callmethod("set_item", (place, value))

    def __iter__(self) -> Iterator[Any]:
        return iter(self[:])


def make_cell(server: ObjectServer, obj: Any) -> HostCell:
    """Return a handle for a ctypes object of this process."""
    if isinstance(obj, ctypes.Structure | ctypes.Union | ctypes._Pointer):
        raise ProcessError("hosts share no memory: a value of theirs is a number or a character, or an array of such")
    cell: HostCell = handle_for(server, HostCell, Cell(obj))
    return cell


HANDLES: dict[str, type[Any]] = {
    "Lock": HostLock,
    "RLock": HostRLock,
    "Semaphore": HostSemaphore,
    "BoundedSemaphore": HostSemaphore,
    "Event": HostEvent,
    "Barrier": HostBarrier,
    "Condition": HostCondition,
    "Queue": HostQueue,
    "JoinableQueue": HostJoinableQueue,
    "SimpleQueue": HostSimpleQueue,
}
