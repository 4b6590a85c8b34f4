"""What feeds an imap: a thread that turns items into tasks, since the iterable may be long, or slow.

While workers have enough to do, short tasks are gathered and submitted many at a time, which costs a fraction. What is
gathered is submitted by the engine's thread when the workers run short of it: this one may wait for an item just then.
"""

from __future__ import annotations

import itertools
import os
import threading
from itertools import starmap
from time import monotonic

from polyproc._base.typing import Any, Iterable, Protocol
from polyproc._platform.handles import AT_ONCE
from polyproc._scheduling.actions import ResolvedOptions
from polyproc._scheduling.assignments import WAKING, QueuedTask
from polyproc._workers.engine import PoolEngine
from polyproc._workers.interrupter import leave_copy
from polyproc._workers.process_engine import BLOCK, BLOCK_BYTES, ITEM
from polyproc._workers.worker import CALL, MAP, function_name

_ENOUGH = 4  # short tasks at hand, while which more may be gathered
_AT_ONCE = 16  # chunks that are packed before they are gathered, of what is at hand
_SLOW = 0.001  # seconds of packing after which what was packed does not wait for more
_AT_HAND = (list, tuple, range)  # whose next item is never waited for


class FedJob(Protocol):
    """A job whose number of chunks is not known at first."""

    _keeps: Any
    _calls_back: bool

    def _let_go(self) -> None:
        """Call nobody back any more."""
        ...

    def _settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the outcome of a chunk."""
        ...

    def set_length(self, length: int) -> bool:
        """Take the number of chunks; return whether all have come."""
        ...


class Feeder(threading.Thread):
    """Feeds one imap of a pool.

    Args:
        engine: the pool's.
        options: of the calls.
        job: what the outcomes go to.
        func: the function.
        items: the iterable. Raises TypeError if it is none.
        chunksize: how many items go into a chunk.
    """

    def __init__(
        self, engine: PoolEngine, options: ResolvedOptions, job: FedJob, func: Any, items: Iterable[Any], chunksize: int
    ) -> None:
        super().__init__(name="polyproc-imap", daemon=True)
        self._engine = engine
        self._options = options
        self._job: FedJob | None = job
        self._func = func
        self.called = function_name(func)
        self._is_at_hand = type(items) in _AT_HAND
        self._items = iter(items)
        self._chunksize = chunksize
        self._pid = os.getpid()
        self._change = threading.Condition()
        self._most: int | None = 0
        self._stopped = False
        self._adding = threading.Lock()
        self._gathered: list[QueuedTask] = []
        self._size = 0  # of what is gathered, in bytes
        self._count = 0  # chunks that were taken, up to what is gathered

    def open(self, buffer: int) -> None:
        """Begin to feed, at most `buffer` chunks beyond what the reader has given back. Raises RuntimeError."""
        try:
            self._engine.event("source_opened", self, buffer)
            self.start()
        except BaseException:
            self._engine.event("source_ended", self, 0)
            raise

    # -- called by the engine --------------------------------------------------------------------------------------

    def allow(self, most: int | None) -> None:
        """Send up to so many chunks in all; any number for None."""
        with self._change:
            if self._most is not None and (most is None or most > self._most):
                self._most = most
                self._change.notify()

    @property
    def calls_back(self) -> bool:
        """Whether to cut it runs code of the user's."""
        return self._job is not None and self._job._calls_back

    def let_go(self) -> None:
        """Run none when it is cut."""
        if self._job is not None:
            self._job._let_go()

    def cut(self, sent: int, error: BaseException | None) -> None:
        """Send no more than was sent; an error tells the reader why."""
        job, self._job = self._job, None
        with self._change:
            self._stopped = True
            self._change.notify()
        assert job is not None  # it is called once
        if error is not None:
            job._settle(sent, False, error)
            sent += 1
        if job.set_length(sent):
            job._keeps = None

    def has_enough(self) -> bool:
        """Whether one more call could wait a little: they are short, and there is enough at hand."""
        assignments = self._engine.scheduler.assignments
        return assignments.costs.of(self.called) < WAKING and assignments.backlog() >= _ENOUGH

    def flush_if_short(self) -> None:
        """Submit what is gathered where workers run short of it."""
        if not self.has_enough():
            self.flush()

    def flush(self) -> None:
        """Submit what is gathered, unless another thread is about to."""
        if not self._gathered:
            return
        turn = [*starmap(self._adding.acquire, AT_ONCE)]
        try:
            if turn[0]:
                self._submit()
        finally:
            if turn[0]:
                self._adding.release()

    def _submit(self) -> None:
        tasks, self._gathered, self._size = self._gathered, [], 0
        self._engine.submit(tasks, self, self._count)

    # -- the thread ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Feed until there is nothing left."""
        engine = self._engine
        engine.feeders.append(self)
        error: BaseException | None = None
        try:
            self._feed(engine.pack_function(self._func))
        except BaseException as raised:  # noqa: BLE001  (the user's iterable raised: the reader of the results is told)
            error = raised
        finally:
            engine.feeders.remove(self)
        with self._adding:
            self._submit()
        del self._items, self._func
        engine.event("source_ended", self, self._count, error=error)

    def _feed(self, packed: Any) -> None:
        """Take items, gather them and submit them: several at a time of what is at hand."""
        while room := self._room():
            chunks = self._next_chunks(room)
            if not chunks or self._stopped:
                return
            tasks, weight, until = list[QueuedTask](), 0, monotonic() + _SLOW
            for chunk in chunks:
                try:
                    payload, size = self._pack(packed, chunk)
                except Exception as error:  # noqa: BLE001  (told where the result is waited for, as in the standard library)
                    self._refuse(tasks, weight, error)
                    tasks, weight = [], 0
                    continue
                tasks.append(QueuedTask(self._job, self._count + len(tasks), payload, self.called, self._options))
                weight += size
                is_slow = monotonic() > until
                if is_slow or weight >= BLOCK_BYTES:
                    self._gather(tasks, weight, is_slow)
                    tasks, weight, until = [], 0, monotonic() + _SLOW
            self._gather(tasks, weight)

    def _room(self) -> int:
        """Wait until more chunks may be sent; when none may, until several may. Return how many: 0 at the end."""
        most = 0 if self._stopped else self._most
        if most is not None and most <= self._count:
            self.flush()
            with self._change:
                self._change.wait_for(lambda: self._stopped or self._most is None or self._count < self._most)
                most = 0 if self._stopped else self._most
        return _AT_ONCE if most is None else max(most - self._count, 0)

    def _next_chunks(self, room: int) -> list[tuple[Any, ...]]:
        """Take items for up to so many chunks."""
        size, items = self._chunksize, self._items
        if not self._is_at_hand:
            chunk = tuple(itertools.islice(items, size))
            if os.getpid() != self._pid:
                leave_copy()
            return [chunk] if chunk else []
        some = list(itertools.islice(items, size * min(room, _AT_ONCE)))
        return [tuple(some[start : start + size]) for start in range(0, len(some), size)]

    def _pack(self, packed: Any, chunk: tuple[Any, ...]) -> tuple[Any, int]:
        """Return what is sent for a chunk, and its size. Raises what pickling raises."""
        return self._engine.pack((packed, CALL, (chunk, {})) if self._chunksize == 1 else (packed, MAP, chunk))

    def _refuse(self, before: list[QueuedTask], weight: int, error: Exception) -> None:
        """Fail a chunk that cannot be sent, behind those before it."""
        from polyproc._pickling.diagnosis import in_callers_words

        in_callers_words(error, (r"obj\[2\]\[0\]\[0\]", "item") if self._chunksize == 1 else ITEM)
        self._gather(before, weight)
        with self._adding:
            self._submit()
            self._engine.event("chunk_refused", self, self._job, self._count, error)
            self._count += 1

    def _gather(self, tasks: list[QueuedTask], weight: int, is_slow: bool = False) -> None:
        """Gather tasks, and submit what is gathered if that is much, or workers may run short of it."""
        if not tasks:
            return
        with self._adding:
            self._gathered += tasks
            self._count += len(tasks)
            self._size += weight
        # Asked when it is among what is gathered: else the engine might look before that, for the last time.
        is_much = len(self._gathered) >= BLOCK or self._size >= BLOCK_BYTES
        if is_much or not ((self._is_at_hand and not is_slow) or self.has_enough()):
            self.flush()
