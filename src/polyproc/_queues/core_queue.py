"""Queue, JoinableQueue and SimpleQueue on the C core: they survive the death of any producer or consumer.

Items live in shared memory from the moment that `put` returns: nothing waits in a producer, which may end, or be
killed, at once. `put` pickles, so that an error is raised there and a later change of the object does not show; on an
unbounded queue it never blocks. How a queue is laid out, and what happens at each step, stands in
csrc/core/pp_queue.h; large messages in pp_slot.h.

A killed producer leaves no half message. A killed consumer takes with it at most the item that it had taken.
"""

from __future__ import annotations

from polyproc._base.modules import Later, public
from polyproc._base.typing import TYPE_CHECKING, Any, TypeVar
from polyproc._pickling.pickler import dumps, loads
from polyproc._pickling.shared_queue import SharedQueue
from polyproc._queues.any_queue import NO_LIMIT, Batches, Subclassed, whole_size

if TYPE_CHECKING:
    from polyproc._queues.async_queue import AsyncJoinableQueue, AsyncQueue

traceback: Any = Later("traceback")

T = TypeVar("T")


class _PublicQueue(SharedQueue, Batches[T]):
    """The base of the three."""

    @property
    def aio(self) -> AsyncQueue[T]:
        """The methods as coroutines, for asyncio and trio: `await queue.aio.get()`."""
        from polyproc._queues.async_queue import AsyncQueue

        return AsyncQueue(self)

    @property
    def _reader(self) -> Reader:
        return Reader(self)

    @property
    def _writer(self) -> Writer:
        return Writer(self)


@public("queues")
class Queue(_PublicQueue[T], metaclass=Subclassed):
    """A queue for any number of producers and consumers, in order for each producer. As in the standard library."""

    _ignore_epipe = False  # concurrent.futures sets it
    _joinable = False
    _classic = ("polyproc._queues.classic", "ClassicQueue")

    def __init__(self, maxsize: int = 0, *, ctx: object = None) -> None:
        if type(maxsize) is not int:
            maxsize = whole_size(maxsize)
        self._make(0 if maxsize >= NO_LIMIT else max(maxsize, 0), self._joinable)
        self._maxsize = maxsize if maxsize > 0 else NO_LIMIT

    def __getstate__(self) -> tuple[Any, ...]:
        return (self._ignore_epipe, self._maxsize, *super().__getstate__())

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._ignore_epipe, self._maxsize = state[:2]
        super().__setstate__(state[2:])

    @staticmethod
    def _on_queue_feeder_error(error: Exception, obj: Any) -> None:
        """Handle an item that could not be pickled, in a subclass that overrides this; then `put` does not raise."""
        traceback.print_exc()

    def _refused(self, error: Exception, obj: Any) -> bool:
        if type(self)._on_queue_feeder_error is Queue._on_queue_feeder_error:
            return False
        self._on_queue_feeder_error(error, obj)
        return True

    def close(self) -> None:
        """Put and get nothing more in this process. What was put stays there for the others."""
        self._close(False)

    def join_thread(self) -> None:
        """Do nothing: no thread is needed. Only after `close`."""
        assert self._closed, f"Queue {self!r} not closed: call close() before join_thread()"

    def cancel_join_thread(self) -> None:
        """Do nothing: no process waits at its exit for what it has put."""

    def shutdown(self, immediate: bool = False) -> None:
        """End the queue for all processes, as `queue.Queue.shutdown` of Python 3.13.

        From now on `put` raises ShutDown, and so does `get` when nothing is left; waiters are woken. With
        `immediate` what is there is thrown away.
        """
        self._end()
        if immediate:
            while self._drop_one():
                pass

    def _terminate_broken(self) -> None:
        """Close it: concurrent.futures calls this when its pool is broken."""
        self.close()
        self.join_thread()


@public("queues")
class JoinableQueue(Queue[T]):
    """A queue that counts items until `task_done` has been called for each.

    Items that a process had taken when it died, before it called `task_done`, are not waited for.
    """

    _joinable = True

    @property
    def aio(self) -> AsyncJoinableQueue[T]:
        """The methods as coroutines, for asyncio and trio: `await queue.aio.join()`."""
        from polyproc._queues.async_queue import AsyncJoinableQueue

        return AsyncJoinableQueue(self)

    def task_done(self) -> None:
        """Mark an item as done. Raises ValueError when called more often than items were put."""
        self._task_done()

    def join(self) -> None:
        """Wait until every item that was put is done."""
        self._join()


@public("queues")
class SimpleQueue(_PublicQueue[T], metaclass=Subclassed):
    """A queue with `put`, `get` and `empty`; `put` never blocks."""

    _classic = ("polyproc._queues.portable_queue", "SimpleQueue")

    def __init__(self, *, ctx: object = None) -> None:
        self._make(0, False)

    def close(self) -> None:
        """Put and get nothing more in this process. Raises OSError from then on."""
        self._close(True)


class _End:
    """One end of a queue, in the shape of a connection: for programs that reach for `_reader` and `_writer`."""

    def __init__(self, queue: _PublicQueue[Any]) -> None:
        self._queue = queue

    @property
    def closed(self) -> bool:
        """Whether the queue is closed in this process."""
        return self._queue._closed

    def close(self) -> None:
        """Close the queue in this process."""
        self._queue.close()  # type: ignore[attr-defined]  # all three have it


class Reader(_End):
    """The end to get from."""

    def fileno(self) -> int:
        """Return a descriptor that is readable while there are items."""
        return self._queue.fileno()

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether there is an item, waiting up to `timeout` seconds; None waits without limit."""
        return self._queue._await(timeout)

    def recv(self) -> Any:
        """Get an item."""
        return self._queue.get()

    def recv_bytes(self) -> bytes:
        """Get an item, pickled."""
        return dumps(self._queue.get())


class Writer(_End):
    """The end to put to."""

    def send(self, obj: Any) -> None:
        """Put an item."""
        self._queue.put(obj)

    def send_bytes(self, data: bytes) -> None:
        """Put an item that was pickled by the caller."""
        self._queue.put(loads(data))
