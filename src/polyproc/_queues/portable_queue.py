"""Queue and JoinableQueue over a pipe, two locks and a counter of free places; for the portable backend.

`put` pickles in its caller, so that an error is raised there and a later change of the object does not show. A feeder
thread, started by the first `put`, writes: `put` on an unbounded queue never blocks.
"""

from __future__ import annotations

import collections
import errno
import math
import pickle
import queue
import sys
import threading
import time
import weakref
from itertools import starmap

from polyproc._base.modules import Remade, public
from polyproc._base.process_state import exit_sequence, log
from polyproc._base.typing import TYPE_CHECKING, Any, Generic, TypeVar
from polyproc._cleanup import Finalize, register_after_fork
from polyproc._connection.connection import Pipe
from polyproc._pickling.pickler import dumps_through
from polyproc._pickling.sending import assert_spawning
from polyproc._platform.handles import AT_ONCE, due
from polyproc._queues.any_queue import Batches, Empty, Full, ShutDown, Subclassed, is_closed
from polyproc._queues.classic import ClassicQueue, _sentinel
from polyproc._synchronize.portable_locks import InnerLock, InnerSemaphore, ItemCounter
from polyproc._synchronize.primitives import Condition, Event

if TYPE_CHECKING:
    from polyproc._queues.async_queue import AsyncJoinableQueue, AsyncQueue

T = TypeVar("T")
_LAST = b""  # what stands in the pipe behind the last item of a queue that was shut down: no pickle is empty
_TICK = 0.05  # seconds: how soon a thread that waits for a free place notices a shutdown

# What goes with a queue to another process.
_SHARED = ("_ignore_epipe", "_maxsize", "_reader", "_writer", "_rlock", "_wlock", "_sem", "_opid", "_ended")


@public("queues")
class Queue(Remade, Batches[T], ClassicQueue, metaclass=Subclassed):
    """A queue for any number of producers and consumers, in order for each producer. As in the standard library.

    A process that has put items waits at its exit until the feeder has written them, unless
    `cancel_join_thread` was called.
    """

    _classic = ("polyproc._queues.classic", "ClassicQueue")
    _lock = InnerLock
    _counter = InnerSemaphore  # not bounded: a dead producer's items still take their places

    @property
    def aio(self) -> AsyncQueue[T]:
        """The methods as coroutines, for asyncio and trio: `await queue.aio.get()`."""
        from polyproc._queues.async_queue import AsyncQueue

        return AsyncQueue(self)

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:
        self._ended = Event(ctx=ctx)
        super().__init__(maxsize, ctx=ctx)

    def __getstate__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        return tuple(getattr(self, name) for name in _SHARED)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(_SHARED, state, strict=True):
            setattr(self, name, value)
        self._reset()
        register_after_fork(self, Queue._after_fork)

    def _reset(self, after_fork: bool = False) -> None:
        self._kept: collections.deque[T] = collections.deque()  # what was taken for a call that raised
        super()._reset(after_fork)

    def _keep(self, items: list[T]) -> None:
        self._kept.extendleft(reversed(items))

    # -- putting ---------------------------------------------------------------------------------------------------

    def put(self, obj: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; wait up to `timeout` seconds for a free place in a bounded queue.

        Raises:
            queue.Full: no place came free.
            ValueError: the queue is closed.
            Exception: what pickling raised, unless a subclass overrides `_on_queue_feeder_error`, which is then told.
        """
        if self._closed:
            raise is_closed(self)
        self._take_place(block, timeout)
        try:
            data = dumps_through(obj, self._writer.fileno)
        except BaseException as error:
            self._sem.release()
            if not isinstance(error, Exception) or type(self)._on_queue_feeder_error is Queue._on_queue_feeder_error:
                raise
            self._on_queue_feeder_error(error, obj)
            return
        try:
            self._hand_over(data)
        except BaseException:  # no thread can be started: the item is not in
            self._sem.release()
            raise

    def _take_place(self, block: bool, timeout: float | None) -> None:
        """Wait for a free place: often, since a shutdown does not wake a waiter."""
        deadline = math.inf if timeout is None else due(timeout)
        while not self._ended.is_set():
            left = deadline - time.monotonic() if block else 0.0
            if self._sem.acquire(block, min(max(left, 0.0), _TICK)):
                return
            if left <= 0:
                raise Full
        raise ShutDown

    def _start_thread(self) -> None:
        self._buffer.clear()
        feeder = _Feeder(self._buffer, self._notempty, self._wlock, self._writer, self._ignore_epipe)
        thread = threading.Thread(target=feeder.run, name="QueueFeederThread", daemon=True)
        thread.start()
        self._thread = thread
        if not self._joincancelled:
            self._jointhread = Finalize(self._thread, self._finalize_join, [weakref.ref(self._thread)], exitpriority=-5)
        self._close = Finalize(self, self._finalize_close, [self._buffer, self._notempty], exitpriority=10)

    # -- getting ---------------------------------------------------------------------------------------------------

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Remove and return an item; wait up to `timeout` seconds for one.

        Raises:
            queue.Empty: none came.
            ValueError: the queue is closed.
        """
        if self._closed:
            raise is_closed(self)
        if self._kept:
            return self._kept.popleft()
        return pickle.loads(self._receive(block, timeout))  # type: ignore[no-any-return]

    def _receive(self, block: bool, timeout: float | None) -> bytes:
        deadline = due(timeout) if block and timeout is not None else 0.0
        turn = [*starmap(self._rlock.acquire, ((block, timeout),))]
        try:
            if not turn[0]:
                raise Empty
            left = None if block and timeout is None else max(deadline - time.monotonic(), 0.0) if block else 0.0
            if left is not None and not self._reader.poll(left):
                raise Empty
            data = self._reader.recv_bytes()
            if data != _LAST:
                self._sem.release()
        finally:
            if turn[0]:
                self._rlock.release()
        if data == _LAST:
            self._hand_over(_LAST)  # for the next caller
            raise ShutDown
        return data

    def qsize(self) -> int:
        """Return the number of items as it is at this moment."""
        return super().qsize() + len(self._kept)

    def empty(self) -> bool:
        """Return whether nothing can be got at this moment."""
        return not self._kept and super().empty()

    # -- ending ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Put nothing more from this process; what was put is still written."""
        self._closed = True
        close, self._close = self._close, None
        if close is not None:
            close()
        if self._thread is not None:
            self._reader.close()

    def shutdown(self, immediate: bool = False) -> None:
        """End the queue for all processes, as `queue.Queue.shutdown` of Python 3.13.

        From now on `put` raises ShutDown, and so does `get` when nothing is left; waiters are woken. With
        `immediate` what is there is thrown away.
        """
        if not self._ended.is_set():
            self._ended.set()
            self._hand_over(_LAST)
        try:
            while immediate:
                self._receive(True, None)
                self._dropped()
        except ShutDown:
            pass

    def _dropped(self) -> None:
        pass


class _Feeder:
    """The thread that writes; holds no reference to the queue."""

    def __init__(
        self,
        buffer: collections.deque[Any],
        notempty: threading.Condition,
        wlock: InnerLock,
        writer: Any,
        ignore_epipe: bool,
    ) -> None:
        self.buffer = buffer
        self.notempty = notempty
        self.wlock = wlock
        self.writer = writer
        self.ignore_epipe = ignore_epipe

    def run(self) -> None:
        """Write what comes, until told to end."""
        while True:
            with self.notempty:
                while not self.buffer:
                    self.notempty.wait()
            data = self.buffer.popleft()
            if data is _sentinel:
                self.writer.close()
                return
            try:
                with self.wlock:
                    self.writer._send_bytes(data)
            except OSError as error:
                if error.errno == errno.EPIPE and (self.ignore_epipe or self._is_closed()):
                    self.writer.close()  # nobody has the queue any more: nobody misses what was left in it
                    return
                if exit_sequence.is_exiting():
                    log.info("error in queue thread: %s", error)
                    return
                sys.stderr.write(f"a queue could not write an item: {error}\n")

    def _is_closed(self) -> bool:
        buffer = self.buffer
        return bool(buffer) and buffer[-1] is _sentinel


@public("queues")
class JoinableQueue(Queue[T]):
    """A queue that counts items until `task_done` has been called for each."""

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:
        super().__init__(maxsize, ctx=ctx)
        self._unfinished_tasks = ItemCounter(0, ctx=ctx)
        self._cond = Condition(ctx=ctx)

    def __getstate__(self) -> tuple[Any, ...]:
        return (super().__getstate__(), self._cond, self._unfinished_tasks)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        super().__setstate__(state[0])
        self._cond, self._unfinished_tasks = state[1:]

    @property
    def aio(self) -> AsyncJoinableQueue[T]:
        """The methods as coroutines, for asyncio and trio: `await queue.aio.join()`."""
        from polyproc._queues.async_queue import AsyncJoinableQueue

        return AsyncJoinableQueue(self)

    def put(self, obj: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item that `task_done` must be called for. Raises as `Queue.put`."""
        with self._cond:
            self._unfinished_tasks.release()
        try:
            super().put(obj, block, timeout)
        except BaseException:
            self.task_done()
            raise

    def task_done(self) -> None:
        """Mark an item as done. Raises ValueError when called more often than items were put."""
        with self._cond:
            if not self._unfinished_tasks.acquire(False):
                raise ValueError(
                    "task_done() called too many times: it belongs once to each item that get() has returned"
                )
            if self._unfinished_tasks._is_zero():
                self._cond.notify_all()

    def join(self) -> None:
        """Wait until every item that was put is done."""
        with self._cond:
            while not self._unfinished_tasks._is_zero():
                self._cond.wait()

    def _unfinished(self) -> int:
        return int(not self._unfinished_tasks._is_zero())

    def _dropped(self) -> None:
        self.task_done()


@public("queues")
class SimpleQueue(Remade, Generic[T]):
    """A queue without a thread: `put` blocks while the pipe is full. As in the standard library."""

    @property
    def aio(self) -> AsyncQueue[T]:
        """The methods as coroutines, for asyncio and trio: `await queue.aio.get()`."""
        from polyproc._queues.async_queue import AsyncQueue

        return AsyncQueue(self)

    def __init__(self, *, ctx: Any = None) -> None:
        self._reader, self._writer = Pipe(duplex=False)
        self._rlock = InnerLock(ctx=ctx)
        self._wlock = InnerLock(ctx=ctx)

    def close(self) -> None:
        """Close both ends in this process."""
        self._reader.close()
        self._writer.close()

    def empty(self) -> bool:
        """Return whether nothing can be got at this moment."""
        return not self._reader.poll()

    def get(self) -> T:
        """Remove and return an item; wait for one."""
        with self._rlock:
            data = self._reader.recv_bytes()
        return pickle.loads(data)  # type: ignore[no-any-return]

    def get_nowait(self) -> T:
        """Remove and return an item or raise queue.Empty."""
        turn = [*starmap(self._rlock.acquire, AT_ONCE)]
        try:
            if not turn[0] or not self._reader.poll():
                raise queue.Empty
            data = self._reader.recv_bytes()
        finally:
            if turn[0]:
                self._rlock.release()
        return pickle.loads(data)  # type: ignore[no-any-return]

    def put(self, obj: T) -> None:
        """Add an item."""
        data = dumps_through(obj, self._writer.fileno)
        with self._wlock:
            self._writer.send_bytes(data)

    def __getstate__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        return (self._reader, self._writer, self._rlock, self._wlock)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._reader, self._writer, self._rlock, self._wlock = state
