"""What a caller waits for: AsyncResult, MapResult and the iterators of imap."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from polyproc._deadline import due
from polyproc._errors import TimeoutError as PolyprocTimeoutError
from polyproc._lazy import load
from polyproc._native import native
from polyproc._public import public
from polyproc._twin import HasTwin
from polyproc._workers.engine import Dropped, report

if TYPE_CHECKING:
    from polyproc._aio.loops import Bell
    from polyproc._pool.progress import Progress

if TYPE_CHECKING or not native:
    Latch = threading.Event
else:
    from polyproc._core import Latch

Callback = Callable[[Any], object]


class Job:
    """A number of tasks that were asked for together. The pool's thread settles them, callers wait.

    `progress` is told of each chunk that is done.
    """

    progress: Progress | None = None
    keeps: Any = None  # the pool, until it is done
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
        if timeout is not None:
            due(timeout)  # what is no number is refused, also where nobody waits
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
        if isinstance(value, Dropped):
            value = load("concurrent.futures", "CancelledError")()  # type: ignore[operator]
        self._success, self._value = success, value
        callback = self._callback if success else self._error_callback
        self._callback = self._error_callback = None
        try:
            if callback is not None:
                callback(value)
        except BaseException:  # noqa: BLE001  (the user's: reported, the pool goes on)
            report("a pool's callback raised")
        finally:
            self._event.set()  # after the callback, as in the standard library: who has waited sees what it did
            if self._bells:
                self._ring()


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
        buffer: how many chunks its reader may have been sent for and not given back, at most.
        chunked: whether a result is that of a chunk, which the reader takes apart before it asks for the next.
    """

    def __init__(self, buffer: Any, chunked: bool = False) -> None:
        if not isinstance(buffer, int):  # a program's own, of a pool
            load("polyproc._pool.recipes", "remake_iterator")(self)  # type: ignore[operator]
            return
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._readers = 0  # that wait
        self._items: collections.deque[tuple[bool, Any]] = collections.deque()
        self._unsorted: dict[int, tuple[bool, Any]] = {}
        self._index = 0
        self._settled = 0
        self._length: int | None = None
        self._chunked = chunked
        self._taken = self._told = 0  # chunks that the reader has taken; and of which the source was told
        self._enough = max(buffer // 4, 1)  # the source is not woken for less room
        self._wants: Callable[[int], object] | None = None
        self._closes: Callable[[], object] | None = None

    def fed_by(self, wants: Callable[[int], object], closes: Callable[[], object]) -> None:
        """Know what to tell when chunks were given back, and when no more are wanted."""
        self._wants, self._closes = wants, closes

    def __iter__(self) -> IMapIterator:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, waiting up to `timeout` seconds. Raises TimeoutError, StopIteration."""
        if self._chunked:
            self.give_back()
        with self._lock:
            if not self._items and not self._wait(timeout):
                raise PolyprocTimeoutError
            if not self._items:
                raise StopIteration
            success, value = self._items.popleft()
            self._taken += 1
        if not self._chunked and self._taken - self._told >= self._enough:
            self.give_back()
        if success:
            return value
        if isinstance(value, Dropped):
            if value.is_end:  # by `close`
                raise StopIteration
            raise load("concurrent.futures", "CancelledError")()  # type: ignore[operator]
        if isinstance(value, StopIteration):
            raise RuntimeError("a mapped function raised StopIteration") from value
        raise value

    __next__ = next

    def _wait(self, timeout: float | None) -> bool:
        """Wait for a result, or the end; return whether one has come."""
        self._readers += 1
        try:
            return self._change.wait_for(self.is_ready, timeout)
        finally:
            self._readers -= 1

    def give_back(self) -> None:
        """Have the source told that the chunks that were taken are used up, if there is room for several, then."""
        taken = self._taken
        if taken - self._told >= self._enough and self._wants is not None:
            self._told = taken
            self._wants(taken)

    def is_ready(self) -> bool:
        """Say whether `next` would not wait."""
        return bool(self._items) or (self._length is not None and self._index >= self._length)

    def __aiter__(self: IMapIterator | ItemIterator) -> AsyncIterator[Any]:
        """Yield the results in asyncio and trio."""
        made: AsyncIterator[Any] = load("polyproc._pool.async_pool", "AsyncResults")(self)  # type: ignore[operator]
        return made

    def close(self) -> None:
        """Take no more items and drop those that no worker has; what is done can still be read. Does not wait."""
        if self._closes is not None:
            self._closes()

    # -- the pool's side -------------------------------------------------------------------------------------------

    def set_length(self, length: int) -> bool:
        """Take the number of chunks, once that is known; return whether all have come."""
        with self._lock:
            self._length = length
            self._change.notify_all()
            is_complete = self._settled >= length
        self._wants = None
        self._ring()
        if is_complete:
            self._closes = None
        if is_complete and self.progress is not None:
            self.progress.end()
        return is_complete

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take a result; those before it go first."""
        with self._lock:
            self._settled += 1
            self._take(index, (success, value))
            if self._readers:
                self._change.notify_all()
            last = self._settled == self._length
        if last:
            self._closes = None
        if self._bells:
            self._ring()
        if self.progress is not None:
            self.progress.advance(len(value) if self._chunked and success else 1)
            if last:
                self.progress.end()
        return last

    def _take(self, index: int, outcome: tuple[bool, Any]) -> None:
        if index != self._index:
            self._unsorted[index] = outcome
            return
        self._items.append(outcome)
        self._index += 1
        while self._unsorted and self._index in self._unsorted:
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
        until = None if timeout is None else due(timeout)
        while True:
            try:
                return self._items.popleft()
            except IndexError:  # also if another thread was faster
                left = None if until is None else max(until - time.monotonic(), 0.0)
                self._items.extend(self._chunks.next(left))

    __next__ = next

    def is_ready(self) -> bool:
        """Say whether `next` would not wait."""
        if not self._items:
            self._chunks.give_back()
        return bool(self._items) or self._chunks.is_ready()

    __aiter__ = IMapIterator.__aiter__

    def close(self) -> None:
        """Take no more items and drop those that no worker has."""
        self._chunks.close()
