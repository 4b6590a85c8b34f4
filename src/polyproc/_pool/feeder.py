"""What feeds an imap: a thread that turns items into tasks, since the iterable may be long, or slow.

While workers have enough to do, short tasks are gathered and added many at a time, which costs a fraction. What is
gathered is added by the pool's thread when the workers run short of it: this one may be waiting for an item just then.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from polyproc._pool.calls import Calls, name_of
from polyproc._pool.crew import BLOCK, BLOCK_BYTES
from polyproc._pool.jobs import TERMINATE
from polyproc._pool.ledger import Task
from polyproc._pool.results import IMapIterator
from polyproc._pool.worker import CALL, MAP

_AT_HAND = (list, tuple, range)  # whose next item is never waited for


class Feeder(threading.Thread):
    """Feeds one imap of a pool.

    Args:
        pool: the pool, or a view of it.
        number: the job's number.
        result: what the results go to, which says how many may be on their way.
        func: the function.
        items: the iterable. Raises TypeError if it is none.
        chunksize: how many items go into a chunk.
    """

    def __init__(
        self, pool: Calls, number: int, result: IMapIterator, func: Any, items: Iterable[Any], chunksize: int
    ) -> None:
        super().__init__(name="polyproc-imap", daemon=True)
        self._crew = pool._crew
        self._terms = pool._terms
        self._number = number
        self._result = result
        self._func = func
        self.called = name_of(func)
        self._is_at_hand = type(items) in _AT_HAND
        self._items = iter(items)
        self._chunksize = chunksize
        self._closed = False
        self._adding = threading.Lock()
        self._gathered: list[Task] = []
        self._size = 0  # of what is gathered, in bytes

    def close(self) -> None:
        """Take no more items, and drop what no worker has begun."""
        self._closed = True
        self.flush()
        self._crew.withdraw_waiting(self._number)

    def flush(self) -> None:
        """Add what is gathered, unless another thread is about to."""
        if self._gathered and self._adding.acquire(blocking=False):
            try:
                self._add()
            finally:
                self._adding.release()

    def _add(self) -> None:
        tasks, self._gathered, self._size = self._gathered, [], 0
        self._crew.open_tasks(tasks)

    def run(self) -> None:
        """Feed until there is nothing left."""
        crew, result = self._crew, self._result
        crew.feeders.append(self)
        error: BaseException | None = None
        count = 0
        try:
            packed = crew.pack_function(self._func)
            for count in self._feed(packed):  # noqa: B007  (it is also what came before an error)
                pass
        except BaseException as raised:  # noqa: BLE001  (the user's iterable raised: told to who reads the results)
            error = raised
        with self._adding:
            self._add()
        crew.feeders.remove(self)
        if self._closed:
            crew.withdraw_waiting(self._number)
        if error is not None:
            result.settle(count, False, error)
            count += 1
        del self._items, self._func, error
        if result.set_length(count):
            crew.forget(self._number)

    def _feed(self, packed: Any) -> Iterator[int]:
        """Take items and gather them; yield how many chunks that were so far."""
        crew, size, room, count = self._crew, self._chunksize, 0, 0
        while True:
            if not room:
                self.flush()
                room = self._result.await_room(count)
            if self._closed or crew.state == TERMINATE:
                return
            chunk = tuple(itertools.islice(self._items, size))
            if not chunk:
                return
            message = (packed, CALL, (chunk, {})) if size == 1 else (packed, MAP, chunk)
            tasks, weight = crew.make_task(self._number, count, message, self.called, self._terms)
            if not tasks:
                crew.have_told()
            with self._adding:
                self._gathered += tasks
                self._size += weight
            room -= 1
            count += 1
            yield count
            # Asked when it is among what is gathered: else the pool's thread might look before that, for the last time.
            is_much = len(self._gathered) >= BLOCK or self._size >= BLOCK_BYTES
            if is_much or not (self._is_at_hand or crew.has_enough(self.called)):
                self.flush()
