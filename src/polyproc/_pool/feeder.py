"""What feeds an imap: a thread that turns items into tasks, since the iterable may be long, or slow.

While workers have enough to do, short tasks are gathered and added many at a time, which costs a fraction. What is
gathered is added by the pool's thread when the workers run short of it: this one may be waiting for an item just then.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from typing import Any

from polyproc._pool.calls import Calls, name_of
from polyproc._pool.jobs import TERMINATE
from polyproc._pool.results import IMapIterator
from polyproc._pool.worker import CALL, MAP

_MOST = 64  # tasks that are gathered
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
        self._gathered: list[Any] = []  # messages, from index `_added` on
        self._added = 0

    def close(self) -> None:
        """Take no more items, and drop what no worker has begun."""
        self._closed = True
        self._crew.withdraw_waiting(self._number)

    def flush(self) -> None:
        """Add what is gathered, unless another thread is about to."""
        if self._gathered and not self._closed and self._adding.acquire(blocking=False):
            try:
                self._add()
            finally:
                self._adding.release()

    def _add(self) -> None:
        messages, self._gathered = self._gathered, []
        first, self._added = self._added, self._added + len(messages)
        self._crew.add_tasks(self._number, first, iter(messages), self.called, self._terms)

    def run(self) -> None:
        """Feed until there is nothing left."""
        crew, result = self._crew, self._result
        crew.feeders.append(self)
        error: BaseException | None = None
        try:
            self._feed(crew.pack_function(self._func))
        except BaseException as raised:  # noqa: BLE001  (the user's iterable raised: told to who reads the results)
            error = raised
        with self._adding:
            if not self._closed:
                self._add()
            self._gathered.clear()
        crew.feeders.remove(self)
        length = self._added
        if error is not None:
            result.settle(length, False, error)
            length += 1
        del self._items, self._func, error
        if result.set_length(length):
            crew.forget(self._number)

    def _feed(self, packed: Any) -> None:
        crew, size, room = self._crew, self._chunksize, 0
        while True:
            if not room:
                self.flush()
                room = self._result.await_room(self._added)
            if self._closed or crew.state == TERMINATE:
                return
            chunk = tuple(itertools.islice(self._items, size))
            if not chunk:
                return
            with self._adding:
                self._gathered.append((packed, CALL, (chunk, {})) if size == 1 else (packed, MAP, chunk))
            room -= 1
            # Asked when it is among what is gathered: else the pool's thread might look before that, for the last time.
            if len(self._gathered) >= _MOST or not (self._is_at_hand or crew.has_enough(self.called)):
                self.flush()
