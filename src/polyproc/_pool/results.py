"""What a caller waits for: AsyncResult, MapResult and the iterators of imap."""

from __future__ import annotations

import collections
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Generator
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from polyproc._errors import TimeoutError as PolyprocTimeoutError
from polyproc._lazy import load
from polyproc._native import native
from polyproc._public import public
from polyproc._twin import HasTwin

if TYPE_CHECKING:
    from polyproc._aio.loops import Bell
    from polyproc._pool.progress import Progress

if TYPE_CHECKING or not native:
    Latch = threading.Event
else:
    from polyproc._core import Latch

Callback = Callable[[Any], object]


class Withdrawn(Exception):
    """The outcome of a task that was dropped before it began."""


class Job:
    """A number of tasks that were asked for together. The pool's thread settles them, callers wait.

    `progress` is told of each chunk that is done.
    """

    progress: Progress | None = None
    _bells: tuple[Bell, ...] = ()

    def _tell(self, bell: Bell) -> None:
        """Have a bell rung at each change from now on."""
        self._bells = (*self._bells, bell)

    def _tell_no_more(self, bell: Bell) -> None:
        """Have it rung no more."""
        self._bells = tuple(other for other in self._bells if other is not bell)

    def _ring(self) -> None:
        for bell in self._bells:
            bell.ring()

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result of a task; return whether it was the job's last."""
        raise NotImplementedError

    def lift(self) -> None:
        """Wait for no reader: the pool takes no more calls."""


@public("pool")
class ApplyResult(Job, HasTwin):
    """The result of apply_async, map_async and starmap_async. It can be awaited, in asyncio and trio."""

    _twin = ("polyproc._pool.async_pool", "AsyncResult")
    __class_getitem__: Any = classmethod(GenericAlias)  # as annotations of programs have it

    def __init__(self, callback: Callback | None, error_callback: Callback | None) -> None:
        self._event = Latch()
        self._callback = callback
        self._error_callback = error_callback
        self._success = True
        self._value: Any = None

    def ready(self) -> bool:
        """Say whether the call is done."""
        return self._event.is_set()

    def successful(self) -> bool:
        """Say whether the call raised nothing. Raises ValueError when it is not done."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call is done, up to `timeout` seconds."""
        self._event.wait(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """Wait as `wait` does; return the result or raise what the call raised. Raises TimeoutError."""
        self.wait(timeout)
        if not self.ready():
            raise PolyprocTimeoutError
        if self._success:
            return self._value
        raise self._value

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for what `get` returns."""
        return self.aio.get().__await__()  # type: ignore[no-any-return]

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result."""
        self._finish(success, value)
        return True

    def _finish(self, success: bool, value: Any) -> None:
        self._success, self._value = success, value
        callback = self._callback if success else self._error_callback
        try:
            if callback is not None:
                _call_back(callback, value)
        finally:
            self._event.set()  # after the callback, as in the standard library: who has waited sees what it did
            self._ring()


def _call_back(callback: Callback, value: Any) -> None:
    try:
        callback(value)
    except Exception:  # noqa: BLE001  (the user's: reported, the pool goes on)
        sys.stderr.write("a pool's callback raised:\n" + traceback.format_exc())


AsyncResult = ApplyResult


@public("pool")
class MapResult(ApplyResult):
    """The result of a call over many items, sent in chunks."""

    def __init__(self, chunksize: Any, *args: Any, **kwds: Any) -> None:
        if not isinstance(chunksize, int):  # a program's own, of a pool
            load("polyproc._pool.recipes", "remake_map")(self, *args, **kwds)  # type: ignore[operator]
            return
        length, callback, error = args
        super().__init__(callback, error)
        self.number = 0  # of the job
        self._chunksize = chunksize
        self._left = -(-length // chunksize) if chunksize else 0
        self._value = [None] * length
        if not self._left:
            self._event.set()

    @property
    def _number_left(self) -> int:  # of chunks: programs poll it to tell of progress
        return self._left

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result of a chunk; the first error counts, and is told when all chunks are done."""
        self._left -= 1
        if self.progress is not None:
            start = index * self._chunksize
            self.progress.advance(min(start + self._chunksize, len(self._value)) - start)
        if success and self._success:
            start = index * self._chunksize
            self._value[start : start + self._chunksize] = value
        elif not success and self._success:
            self._success, self._value = False, value
        if self._left:
            return False
        self._finish(self._success, self._value)
        return True


@public("pool")
class IMapIterator(Job):
    """Yields results as they come, in the order of the items.

    Args:
        buffer: how many chunks may be on their way: sent and not yet asked for.
        chunked: whether a result is that of a chunk, which the reader takes apart before it asks for the next.
    """

    def __init__(self, buffer: Any, chunked: bool = False) -> None:
        if not isinstance(buffer, int):  # a program's own, of a pool
            load("polyproc._pool.recipes", "remake_iterator")(self)  # type: ignore[operator]
            return
        self._cond = threading.Condition()
        self._items: collections.deque[tuple[bool, Any]] = collections.deque()
        self._unsorted: dict[int, tuple[bool, Any]] = {}
        self._index = 0
        self._settled = 0
        self._length: int | None = None
        self._buffer = buffer
        self._behind = 1 if chunked else 0
        self._asked = 0
        self._enough = max(buffer // 4, 1)  # the feeder is not woken for less room
        self._sent, self._feeder_waits = 0, False
        self._lifted = False
        self._closed: Callable[[], object] | None = None

    def __iter__(self) -> IMapIterator:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, waiting up to `timeout` seconds. Raises TimeoutError, StopIteration."""
        with self._cond:
            self._made_room(self._behind)
            if not self._items and not self._cond.wait_for(self.is_ready, timeout):
                self._asked -= self._behind
                raise PolyprocTimeoutError
            if not self._items:
                raise StopIteration
            success, value = self._items.popleft()
            self._made_room(1 - self._behind)
        if success:
            return value
        if isinstance(value, Withdrawn):  # by `close`
            raise StopIteration
        if isinstance(value, StopIteration):
            raise RuntimeError("a mapped function raised StopIteration") from value
        raise value

    __next__ = next

    def is_ready(self) -> bool:
        """Say whether `next` would not wait."""
        return bool(self._items) or self._index == self._length

    def __aiter__(self: IMapIterator | ItemIterator) -> AsyncIterator[Any]:
        """Yield the results in asyncio and trio."""
        made: AsyncIterator[Any] = load("polyproc._pool.async_pool", "AsyncResults")(self)  # type: ignore[operator]
        return made

    def _made_room(self, chunks: int) -> None:
        self._asked += chunks
        if self._feeder_waits and self._has_room(self._sent, self._enough):
            self._feeder_waits = False
            self._cond.notify_all()

    def close(self) -> None:
        """Take no more items and drop those that no worker has; what is done can still be read. Does not wait."""
        if self._closed is not None:
            self._closed()
        self.lift()

    def on_close(self, act: Callable[[], object]) -> None:
        """Have `act` called by `close`."""
        self._closed = act

    # -- the feeder's side -----------------------------------------------------------------------------------------

    def await_room(self, sent: int) -> int:
        """Wait until more than `sent` chunks may be sent; when there is no room, until there is some for several.

        Returns how many, one at least.
        """
        with self._cond:
            if not self._has_room(sent, 1):
                self._sent, self._feeder_waits = sent, True
                self._cond.wait_for(lambda: self._has_room(sent, self._enough))
                self._feeder_waits = False
            return max(self._buffer + max(self._asked - self._behind, 0) - sent, 1)

    def _has_room(self, sent: int, chunks: int) -> bool:
        return self._lifted or sent - max(self._asked - self._behind, 0) <= self._buffer - chunks

    def lift(self) -> None:
        """Let all be sent, whether they are asked for or not."""
        with self._cond:
            self._lifted = True
            self._cond.notify_all()

    def set_length(self, length: int) -> bool:
        """Say how many there are, once that is known; return whether all have come."""
        with self._cond:
            self._length = length
            self._cond.notify_all()
            is_complete = self._settled == length
        self._ring()
        return is_complete

    # -- the pool's side -------------------------------------------------------------------------------------------

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take a result; those before it go first."""
        with self._cond:
            self._settled += 1
            self._take(index, (success, value))
            self._cond.notify_all()
            last = self._settled == self._length
        self._ring()
        if self.progress is not None:
            self.progress.advance(len(value) if self._behind and success else 1)
            if last:
                self.progress.end()
        return last

    def _take(self, index: int, outcome: tuple[bool, Any]) -> None:
        self._unsorted[index] = outcome
        while self._index in self._unsorted:
            self._items.append(self._unsorted.pop(self._index))
            self._index += 1


@public("pool")
class IMapUnorderedIterator(IMapIterator):
    """Yields results as they come."""

    def _take(self, index: int, outcome: tuple[bool, Any]) -> None:
        self._index += 1
        self._items.append(outcome)


class ItemIterator:
    """The items of an iterator of chunks."""

    def __init__(self, chunks: IMapIterator) -> None:
        self._chunks = chunks
        self._items: collections.deque[Any] = collections.deque()
        self._tell, self._tell_no_more = chunks._tell, chunks._tell_no_more

    def __iter__(self) -> ItemIterator:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, waiting up to `timeout` seconds. Raises TimeoutError, StopIteration."""
        if not self._items:
            self._items.extend(self._chunks.next(timeout))
        return self._items.popleft()

    __next__ = next

    def is_ready(self) -> bool:
        """Say whether `next` would not wait."""
        return bool(self._items) or self._chunks.is_ready()

    __aiter__ = IMapIterator.__aiter__

    def close(self) -> None:
        """Take no more items and drop those that no worker has."""
        self._chunks.close()
