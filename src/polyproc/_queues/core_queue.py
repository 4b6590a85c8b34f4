"""Queue, JoinableQueue and SimpleQueue on the C core: they survive the death of any producer or consumer.

Items live in shared memory from the moment that `put` returns: nothing waits in a producer, which may end, or be
killed, at once. `put` pickles, so that an error is raised there and a later change of the object does not show; on an
unbounded queue it never blocks. How a queue is laid out, and what happens at each step, stands in
csrc/core/pp_queue.h; large messages in pp_slot.h.

A killed producer leaves no half message. A killed consumer takes with it at most the item that it had taken.
"""

from __future__ import annotations

import os
import traceback
from typing import Any, TypeVar

import polyproc._core as core
from polyproc._memory.chunk import attach_with, descriptors, registry_to_send
from polyproc._pickling.live_fd import sent_fds
from polyproc._pickling.pickler import dumps, loads
from polyproc._platform.posix import LongLived, close_quietly
from polyproc._public import Remade, public
from polyproc._queues import large
from polyproc._queues.batches import Batches
from polyproc._queues.closed import whole_size
from polyproc._queues.subclassing import Subclassed
from polyproc._synchronize.primitives import SEM_VALUE_MAX

T = TypeVar("T")


class SharedQueue(Remade, core.Queue, Batches[T]):
    """What the three have in common: how they are made and pickled, and their two ends."""

    def _make(self, maxsize: int, joinable: bool, polled: bool = True) -> None:
        # A pipe that is readable while there are items, for who waits for many things; unused until somebody asks.
        signals = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if polled else (-1, -1)
        try:
            self._create(maxsize, joinable, *signals)
        except BaseException:
            close_quietly(*signals)
            raise
        self._signals = tuple(map(LongLived, signals))

    def __getstate__(self) -> tuple[Any, ...]:
        id, offset = self._where()
        fd, registry_fd = descriptors(id)
        signals = [signal.fd for signal in self._signals if signal.is_there()]
        signals = signals if len(signals) == len(self._signals) else []
        return offset, sent_fds(fd, *signals), registry_to_send(registry_fd)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        offset, sent, sent_registry = state
        fd, *signals = sent.detach()
        signals = signals or [-1, -1]
        try:
            id = attach_with(fd, sent_registry)
            try:
                self._attach(id, offset, *signals)
            finally:
                core.detach(id)
        except BaseException:
            close_quietly(*signals)
            raise
        finally:
            os.close(fd)
        self._signals = tuple(map(LongLived, signals))

    def _memory_fd(self) -> int:
        """Return the descriptor of its memory: who has that may get its items (_pickling/in_transit.py)."""
        return descriptors(self._where()[0])[0]

    def fileno(self) -> int:
        """Return a descriptor that is readable while there are items, for `wait` and selectors.

        It may be readable when another consumer has just taken the last item. It is not to be read from.
        """
        return self._poll_on()

    def _put_other(self, obj: Any, deadline: int, tag: int) -> None:
        """Put what is not plain data, or is large. The core calls it."""
        try:
            record = large.pack(self, obj)
        except Exception as error:
            if not self._refused(error, obj):
                raise
            return
        large.put(self, record, deadline, tag)

    def _get_large(self, record: bytes, slot: core.Slot) -> Any:
        """Return the object of a large pickle. The core calls it."""
        return large.unpack(record, slot)

    def _refused(self, error: Exception, obj: Any) -> bool:
        """Say whether somebody was told that an object could not be pickled; else the error is raised."""
        return False

    @property
    def _reader(self) -> Reader:
        return Reader(self)

    @property
    def _writer(self) -> Writer:
        return Writer(self)


@public("queues")
class Queue(SharedQueue[T], metaclass=Subclassed):
    """A queue for any number of producers and consumers, in order for each producer. As in the standard library."""

    _ignore_epipe = False  # concurrent.futures sets it
    _joinable = False
    _classic = ("polyproc._queues.classic", "ClassicQueue")

    def __init__(self, maxsize: int = 0, *, ctx: object = None) -> None:
        if type(maxsize) is not int:
            maxsize = whole_size(maxsize)
        self._make(0 if maxsize >= SEM_VALUE_MAX else max(maxsize, 0), self._joinable)
        self._maxsize = maxsize if maxsize > 0 else SEM_VALUE_MAX

    def __getstate__(self) -> tuple[Any, ...]:
        return (self._ignore_epipe, self._maxsize, *super().__getstate__())

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._ignore_epipe, self._maxsize = state[:2]
        super().__setstate__(state[2:])

    @staticmethod
    def _on_queue_feeder_error(error: Exception, obj: Any) -> None:
        """Be told of an item that could not be pickled, if a subclass overrides it; then `put` does not raise."""
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

        From now on `put` raises ShutDown, and so does `get` when nothing is left; who waits is woken. With
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
    """A queue that counts items until each is told to be done.

    What a process had taken that died before it said `task_done` is not waited for.
    """

    _joinable = True

    def task_done(self) -> None:
        """Say that an item that was got is done. Raises ValueError when said more often than items were put."""
        self._task_done()

    def join(self) -> None:
        """Wait until every item that was put is done."""
        self._join()


@public("queues")
class SimpleQueue(SharedQueue[T], metaclass=Subclassed):
    """A queue with `put`, `get` and `empty`; `put` never blocks."""

    _classic = ("polyproc._queues.portable_simple", "SimpleQueue")

    def __init__(self, *, ctx: object = None) -> None:
        self._make(0, False)

    def close(self) -> None:
        """Put and get nothing more in this process. Raises OSError from then on."""
        self._close(True)


class _End:
    """One end of a queue, in the shape of a connection: for programs that reach for `_reader` and `_writer`."""

    def __init__(self, queue: SharedQueue[Any]) -> None:
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
        """Say whether there is an item, waiting up to `timeout` seconds; None waits without limit."""
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
