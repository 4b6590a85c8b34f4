"""Queues, locks and values of a remote context: handles for objects in the process that made them.

They have the methods of the local kinds, and travel to processes on any host. The process that puts an item pickles it,
the one that gets it opens it: the server keeps parcels. What a process held when it died is let go, and an item that it
was about to get goes back (_managers/serving.py).
"""

from __future__ import annotations

import ctypes
import time
from types import TracebackType

from polyproc._base.errors import ProcessError
from polyproc._base.native import native
from polyproc._base.process_state import log
from polyproc._base.typing import TYPE_CHECKING, Any, ClassVar, Iterable, Iterator
from polyproc._hosts.object_server import SERIALIZER, HostToken
from polyproc._hosts.parcels import Parcel, pack, unpack
from polyproc._hosts.same_host import this_host
from polyproc._hosts.served_kinds import IN_MEMORY, Cell
from polyproc._managers.links import GONE, answer_of
from polyproc._managers.proxies import BarrierProxy, BaseProxy, ConditionProxy, EventProxy
from polyproc._pickling.pickler import loads
from polyproc._platform.handles import due
from polyproc._queues.any_queue import ShutDown

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


# A handle that needs no network on the host where its object was made.
#
# There the object is in memory that processes share, where the C core is there (served_kinds.py). A process of the
# same host asks the server for it, once, and gets what it would get by any connection (_pickling/chunk.py); from then
# on its calls go there. Elsewhere, and where that memory cannot be had, they go to the server. Whoever calls, it is one
# object.


class HostObject(BaseProxy):
    """A handle for an object in the process that made it."""

    _exposed_: tuple[str, ...] = ()
    _here: Any = None  # the object itself, once it was got
    _may_be_here = True

    def _callmethod(self, methodname: str, args: tuple[Any, ...] = (), kwds: dict[str, Any] = {}) -> Any:  # noqa: B006
        """Call a method of the object, here or there; return the answer."""
        if self._may_be_here:
            self._look_here()
        if self._here is not None:
            return getattr(self._here, methodname)(*args, **kwds)
        return super()._callmethod(methodname, args, kwds)

    def _look_here(self) -> None:
        """Get the object, if it was made on this host."""
        self._may_be_here = False
        if self._owner is not None:
            obj = self._owner.object_of(self._id)
            self._here = obj if isinstance(obj, IN_MEMORY) else None
            return
        host = self._token.address[3]
        if not host or host != this_host():
            return
        packed = self._ask_server("in_memory", self._id)
        if packed is None:
            return
        try:
            self._here = loads(packed)
        except Exception as error:  # noqa: BLE001  (whatever keeps one from it: the server has it)
            log.info("an object of this host cannot be opened here, and is used through its server: %r", error)

    @property
    def aio(self) -> Any:
        """The methods as coroutines. They are calls of the server: those can be called off."""
        served = object.__new__(type(self))
        served.__dict__.update(self.__dict__, _here=None, _may_be_here=False, _is_counted=False, _counted=self)
        return super(HostObject, served).aio


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
    _has_no_limit = True  # so that put never waits, and raises nothing but at the end

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item. Raises what pickling raises, and queue.Full."""
        self._check_open()
        packed = pack(obj)
        if not self._put_ahead(packed):
            if not native and self._owner is not None and isinstance(packed, Parcel):
                packed = packed.copied()  # it stays in this process
            self._callmethod("put", (packed, block, timeout))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the next item; wait for it up to `timeout` seconds. Raises queue.Empty."""
        self._check_open()
        if timeout is not None and timeout < 0:
            timeout = 0.0
        return unpack(self._callmethod("get", (block, timeout)))

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

    def _put_ahead(self, packed: Any) -> bool:
        """Send an item without waiting for the answer, if that may be; return whether it was sent."""
        connection = self._connection() if self._here is None and self._has_no_limit else None
        if connection is None:
            return False
        try:
            return bool(connection.tell(self._id, packed))
        except OSError as error:
            error.add_note(GONE)
            raise

    def _connection(self) -> Any:
        """Return this thread's connection to the server, if any. Raises what became of an item sent ahead by it."""
        connection = None if self._link is None else self._link.connection
        if connection is not None and (failure := connection.failure_of(self._id)) is not None:
            answer_of(*failure)
        return connection

    def _callmethod(self, methodname: str, args: tuple[Any, ...] = (), kwds: dict[str, Any] = {}) -> Any:  # noqa: B006
        self._connection()
        result = super()._callmethod(methodname, args, kwds)
        if self._has_no_limit and self._here is None and (connection := self._connection()) is not None:
            connection.note_answered(self._id)
        return result


class HostBoundedQueue(HostQueue):
    """A queue of a limited size."""

    _has_no_limit = False


class HostJoinableQueue(HostBoundedQueue):
    """A queue that counts its items until they are done."""

    def task_done(self) -> None:
        """Count an item as done. Raises ValueError if that was done more often than there were items."""
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
            raise AttributeError("there is no lock: it was made with lock=False")
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
