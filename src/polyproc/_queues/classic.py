"""ClassicQueue: a queue in the shape of the standard library's, for subclasses that override its insides.

`put` hands the object to a feeder thread, which pickles it and writes it to a pipe; two locks and a counter guard the
pipe. The names of attributes and steps, and the arguments of `_feed`, are those that subclasses rely on.
"""

from __future__ import annotations

import collections
import errno
import math
import os
import pickle
import threading
import time
import traceback
import weakref
from itertools import starmap
from types import GenericAlias

from polyproc._base.process_state import exit_sequence, log
from polyproc._base.typing import Any, Callable, ClassVar
from polyproc._cleanup import Finalize, register_after_fork
from polyproc._connection.connection import Pipe
from polyproc._pickling.pickler import dumps
from polyproc._pickling.sending import assert_spawning
from polyproc._platform.handles import due
from polyproc._queues.any_queue import Empty, Full, is_closed, whole_size
from polyproc._synchronize.primitives import SEM_VALUE_MAX, BoundedSemaphore, Lock

_sentinel = object()


class ClassicQueue:
    """A queue for any number of producers and consumers. A process waits at its exit for what it has put."""

    __class_getitem__: ClassVar[Any] = classmethod(GenericAlias)
    _counter: ClassVar[Any] = BoundedSemaphore
    _lock: ClassVar[Any] = Lock

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:
        if type(maxsize) is not int:
            maxsize = whole_size(maxsize)
        self._maxsize = maxsize if maxsize > 0 else SEM_VALUE_MAX
        self._reader, self._writer = Pipe(duplex=False)
        self._rlock = self._lock(ctx=ctx)
        self._wlock = self._lock(ctx=ctx)
        self._sem = self._counter(self._maxsize, ctx=ctx)
        self._opid = os.getpid()
        self._ignore_epipe = False  # concurrent.futures sets it
        self._reset()
        register_after_fork(self, ClassicQueue._after_fork)

    def __getstate__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        ends = (self._reader, self._writer, self._rlock, self._wlock)
        return (self._ignore_epipe, self._maxsize, *ends, self._sem, self._opid)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._ignore_epipe, self._maxsize, self._reader, self._writer = state[:4]
        self._rlock, self._wlock, self._sem, self._opid = state[4:]
        self._reset()

    def _after_fork(self) -> None:
        self._reset(after_fork=True)

    def _reset(self, after_fork: bool = False) -> None:
        self._notempty = threading.Condition(threading.Lock())
        self._buffer: collections.deque[Any] = collections.deque()
        self._thread: threading.Thread | None = None
        self._jointhread: Finalize | None = None
        self._joincancelled = False
        self._closed = False
        self._close: Finalize | None = None
        self._send_bytes = self._writer.send_bytes
        self._recv_bytes = self._reader.recv_bytes
        self._poll = self._reader.poll

    # -- putting ---------------------------------------------------------------------------------------------------

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; wait up to `timeout` seconds for a free place in a bounded queue.

        Raises:
            queue.Full: no place came free.
            ValueError: the queue is closed.
        """
        if self._closed:
            raise is_closed(self)
        if not self._sem.acquire(block, timeout):
            raise Full
        try:
            self._hand_over(obj)
        except BaseException:  # no thread can be started: the item is not in
            self._sem.release()
            raise

    def _hand_over(self, item: Any) -> None:
        """Give something to the feeder."""
        with self._notempty:
            if self._thread is None:
                self._start_thread()
            self._buffer.append(item)
            self._notempty.notify()

    def put_nowait(self, obj: Any) -> None:
        """Add an item or raise queue.Full."""
        self.put(obj, False)

    def _start_thread(self) -> None:
        self._buffer.clear()
        thread = threading.Thread(
            target=self._feed,
            args=(
                self._buffer,
                self._notempty,
                self._send_bytes,
                self._wlock,
                self._reader.close,
                self._writer.close,
                self._ignore_epipe,
                self._on_queue_feeder_error,
                self._sem,
            ),
            name="QueueFeederThread",
            daemon=True,
        )
        thread.start()
        self._thread = thread
        if not self._joincancelled:
            self._jointhread = Finalize(thread, self._finalize_join, [weakref.ref(thread)], exitpriority=-5)
        self._close = Finalize(self, self._finalize_close, [self._buffer, self._notempty], exitpriority=10)

    @staticmethod
    def _finalize_join(thread_ref: Callable[[], threading.Thread | None]) -> None:
        thread = thread_ref()
        if thread is not None:
            thread.join()

    @staticmethod
    def _finalize_close(buffer: collections.deque[Any], notempty: threading.Condition) -> None:
        with notempty:
            buffer.append(_sentinel)
            notempty.notify()

    @staticmethod
    def _feed(  # noqa: PLR0913  (as in the standard library: subclasses call it)
        buffer: collections.deque[Any],
        notempty: threading.Condition,
        send_bytes: Callable[[bytes], None],
        writelock: Any,
        reader_close: Callable[[], None],
        writer_close: Callable[[], None],
        ignore_epipe: bool,
        onerror: Callable[[Exception, Any], None],
        queue_sem: Any,
    ) -> None:
        while True:
            with notempty:
                while not buffer:
                    notempty.wait()
                obj = buffer.popleft()
            if obj is _sentinel:
                reader_close()
                writer_close()
                return
            try:
                data = dumps(obj)
                with writelock:
                    send_bytes(data)
            except Exception as error:  # noqa: BLE001  (pickling runs anything; the subclass is told)
                if ignore_epipe and getattr(error, "errno", 0) == errno.EPIPE:
                    return
                if exit_sequence.is_exiting():
                    log.info("error in queue thread: %s", error)
                    return
                queue_sem.release()
                onerror(error, obj)
            finally:
                del obj

    @staticmethod
    def _on_queue_feeder_error(error: Exception, obj: Any) -> None:
        """Handle an item that could not be sent; to be overridden."""
        traceback.print_exc()

    # -- getting ---------------------------------------------------------------------------------------------------

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return an item; wait up to `timeout` seconds for one.

        Raises:
            queue.Empty: none came.
            ValueError: the queue is closed.
        """
        if self._closed:
            raise is_closed(self)
        deadline = math.inf if timeout is None else due(timeout)
        turn = [*starmap(self._rlock.acquire, ((block, timeout),))]
        try:
            if not turn[0]:
                raise Empty
            forever = block and timeout is None
            if not forever and not self._poll(max(deadline - time.monotonic(), 0.0) if block else 0.0):
                raise Empty
            data = self._recv_bytes()
            self._sem.release()
        finally:
            if turn[0]:
                self._rlock.release()
        return pickle.loads(data)

    def get_nowait(self) -> Any:
        """Remove and return an item or raise queue.Empty."""
        return self.get(False)

    # -- looking and ending ----------------------------------------------------------------------------------------

    def qsize(self) -> int:
        """Return the number of items as it is at this moment."""
        return self._maxsize - int(self._sem.get_value())

    def empty(self) -> bool:
        """Return whether nothing can be got at this moment."""
        return not self._poll()

    def full(self) -> bool:
        """Return whether nothing can be put at this moment."""
        return not self._sem.get_value()

    def close(self) -> None:
        """Put nothing more from this process; what was put is still written."""
        self._closed = True
        close, self._close = self._close, None
        if close is not None:
            close()

    def join_thread(self) -> None:
        """Wait until the feeder has written everything. Only after `close`."""
        assert self._closed, f"Queue {self!r} not closed: call close() before join_thread()"
        if self._jointhread is not None:
            self._jointhread()

    def cancel_join_thread(self) -> None:
        """Do not wait for the feeder at exit: what it has not written is lost."""
        self._joincancelled = True
        if self._jointhread is not None:
            self._jointhread.cancel()

    def _terminate_broken(self) -> None:
        """Give up what is not written: concurrent.futures calls it when its pool is broken."""
        self._reader.close()
        self.close()
        self.join_thread()
