"""The iterators that imap returns, how an imap begins, and the calls of an executor's map."""

from __future__ import annotations

import collections
import itertools
import threading
import time

from polyproc._base.errors import TimeoutError as PolyprocTimeoutError
from polyproc._base.modules import load, public, said
from polyproc._base.typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Callable,
    Generic,
    Iterable,
    Iterator,
    Self,
    Sequence,
    Sized,
    TypeVar,
)
from polyproc._platform.handles import due
from polyproc._pool.calls import Calls, Job, progress_of
from polyproc._scheduling.actions import Dropped
from polyproc._scheduling.assignments import RUN
from polyproc._workers.feeder import Feeder
from polyproc._workers.worker import STARMAP, function_name

if TYPE_CHECKING:
    from polyproc._pool.executor import ProcessPoolExecutor
    from polyproc._workers.process_engine import ProcessPoolEngine

T = TypeVar("T")

# How many chunks of an imap are on their way, at most, where nothing else was asked for.
_BUFFER, _BUFFER_EACH = 64, 4


@public("pool")
class IMapIterator(Job, Generic[T]):
    """Yields results as they come, in the order of the items.

    Args:
        buffer: how many chunks its reader may have been sent for and not given back, at most.
        chunked: whether a result is that of a chunk, which the reader takes apart before it asks for the next.
    """

    def __init__(self, buffer: Any, chunked: bool = False) -> None:
        if not isinstance(buffer, int):  # a program's own, of a pool
            from polyproc._pool.recipes import remake_iterator

            remake_iterator(self)
            return
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._is_waited_for = False  # whether somebody is to be woken
        self._items: collections.deque[tuple[bool, Any]] = collections.deque()
        self._unsorted: dict[int, tuple[bool, Any]] = {}
        self._index = 0
        self._settled = 0
        self._length: int | None = None
        self._chunked = chunked
        self._told = 0  # of how many chunks that the reader has taken the source was told
        self._enough = max(buffer // 4, 1)  # the source is not woken for less room
        self._wants: Callable[[int], object] | None = None
        self._closes: Callable[[], object] | None = None

    def fed_by(self, wants: Callable[[int], object], closes: Callable[[], object]) -> None:
        """Set the functions that are called when chunks were given back, and when no more are wanted."""
        self._wants, self._closes = wants, closes

    def __iter__(self) -> Self:
        return self

    def next(self, timeout: float | None = None) -> T:
        """Return the next result, waiting up to `timeout` seconds. Raises TimeoutError, StopIteration."""
        items = self._items
        if self._chunked:
            self.give_back()
        try:
            item = items.popleft()
        except IndexError:
            item = None  # what is raised as it waits has nothing to do with this
        success, value = self._await_item(timeout) if item is None else item
        if not self._chunked and self._index - len(items) - self._told >= self._enough:
            self.give_back()
        if success:
            return value  # type: ignore[no-any-return]
        if type(value) is Dropped:
            if value.is_end:  # by `close`
                raise StopIteration
            raise load("concurrent.futures", "CancelledError")()  # type: ignore[operator]
        if issubclass(type(value), StopIteration):
            raise RuntimeError("a mapped function raised StopIteration") from value
        raise value

    __next__ = next

    def _await_item(self, timeout: float | None) -> tuple[bool, Any]:
        """Wait for a result; take it. Raises TimeoutError, StopIteration."""
        until = None if timeout is None else due(timeout)
        self._give_all_back()
        while True:
            with self._lock:
                while not self._is_there():
                    left = None if until is None else until - time.monotonic()
                    if left is not None and left <= 0:
                        raise PolyprocTimeoutError
                    self._is_waited_for = True
                    self._change.wait(left)
                try:
                    return self._items.popleft()
                except IndexError:  # another thread was faster, or this is the end: nothing is added with the lock held
                    if self._is_there():
                        raise StopIteration from None

    def give_back(self) -> None:
        """Tell the source that the chunks that were taken are used up, once there is room for several."""
        taken = self._index - len(self._items)  # in this order: what comes meanwhile is not taken yet
        wants = self._wants
        if taken - self._told >= self._enough and wants is not None:
            wants(taken)
            self._told = taken  # last: after a Ctrl-C it is told again

    def _give_all_back(self) -> None:
        with self._lock:
            pass  # what another thread adds just now is counted behind this, and the source told of all that was taken
        self.give_back()

    def _is_there(self) -> bool:
        return bool(self._items) or (self._length is not None and self._index >= self._length)

    def is_ready(self) -> bool:
        """Return whether `next` would not wait."""
        if not self._items:
            self._give_all_back()  # a reader in asyncio or trio waits next
        return self._is_there()

    def __aiter__(self) -> AsyncIterator[T]:
        """Yield the results in asyncio and trio."""
        from polyproc._pool.async_pool import AsyncResults

        return AsyncResults(self)

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
        if is_complete and self._progress is not None:
            self._progress.end()
        return is_complete

    def _settle(self, index: int, success: bool, value: Any) -> bool:
        """Take a result; those before it go first."""
        return self._settle_some([(index, (success, value))])

    def _settle_run(self, values: Sequence[tuple[Any, int, Any]]) -> bool:
        """Take values, and wake the reader once."""
        return self._settle_some([(index, (True, value)) for _, index, value in values])

    def _settle_some(self, outcomes: list[tuple[int, tuple[bool, Any]]]) -> bool:
        with self._lock:
            self._settled += len(outcomes)
            self._take(outcomes)
            if self._is_waited_for:
                self._is_waited_for = False
                self._change.notify_all()
            last = self._settled == self._length
        if last:
            self._closes = None
        if self._events:
            self._ring()
        if self._progress is not None:
            for _, (success, value) in outcomes:
                self._progress.advance(len(value) if self._chunked and success else 1)
            if last:
                self._progress.end()
        return last

    def _take(self, outcomes: list[tuple[int, tuple[bool, Any]]]) -> None:
        # An item is counted when it is there: the reader takes without the lock.
        for index, outcome in outcomes:
            if index == self._index:
                self._items.append(outcome)
                self._index += 1
            else:
                self._unsorted[index] = outcome
        while self._unsorted and self._index in self._unsorted:
            self._items.append(self._unsorted.pop(self._index))
            self._index += 1


@public("pool")
class IMapUnorderedIterator(IMapIterator[T]):
    """Yields results as they come."""

    def _take(self, outcomes: list[tuple[int, tuple[bool, Any]]]) -> None:
        self._items.extend([outcome for _, outcome in outcomes])
        self._index += len(outcomes)


class ItemIterator(Generic[T]):
    """The items of an iterator of chunks."""

    def __init__(self, chunks: IMapIterator[Any]) -> None:
        self._chunks = chunks
        self._items: collections.deque[T] = collections.deque()
        self._tell, self._tell_no_more = chunks._tell, chunks._tell_no_more

    def __iter__(self) -> Self:
        return self

    def next(self, timeout: float | None = None) -> T:
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
        """Return whether `next` would not wait."""
        return bool(self._items) or self._chunks.is_ready()

    def __aiter__(self) -> AsyncIterator[T]:
        """Yield the results in asyncio and trio."""
        from polyproc._pool.async_pool import AsyncResults

        return AsyncResults(self)

    def close(self) -> None:
        """Take no more items and drop those that no worker has."""
        self._chunks.close()


def begin_imap(
    pool: Calls,
    func: Callable[[Any], Any],
    iterable: Iterable[Any],
    chunksize: int,
    buffersize: int | None,
    is_ordered: bool,
) -> IMapIterator[Any] | ItemIterator[Any]:
    """Begin to call `func` for each item; return the iterator of the results."""
    engine, options = pool._engine, pool._options
    if not hasattr(iterable, "__iter__") and not hasattr(iterable, "__getitem__"):
        raise said("no_items", f"{type(iterable).__name__!r} object is not iterable", func, iterable, "imap")
    if not callable(func):
        raise said("no_function", func, "imap", "pool.imap(a_function, items)")
    if buffersize is None:
        buffer = _BUFFER + _BUFFER_EACH * engine.size
    elif (buffersize := said("whole", buffersize, "buffersize is a number of items")) < 1:
        raise ValueError(f"buffersize must be None or > 0, and not {buffersize}")
    else:
        buffer = max(buffersize // chunksize, 1)
    result: IMapIterator[Any] = (IMapIterator if is_ordered else IMapUnorderedIterator)(buffer, chunked=chunksize > 1)
    if options.progress:
        result._show(progress_of(options, len(iterable) if isinstance(iterable, Sized) else None))
    result._keeps = pool._whole or pool
    feeder = Feeder(engine, options, result, func, iterable, chunksize)
    result.fed_by(
        lambda finished: engine.order("reader_wants", feeder, finished),  # it never waits for the engine's lock
        lambda: engine.event("source_closed", feeder, result),
    )
    feeder.open(buffer)
    return result if chunksize == 1 else ItemIterator(result)


class MapCalls:
    """The calls of an executor's `map`, sent in chunks: all at once, or some, and then one for each that is read.

    Args:
        executor: whose they are.
        fn: what is called.
        calls: the arguments.
        chunksize: how many calls go to a worker together.
        check: raises what says why the executor takes no more.
    """

    def __init__(
        self,
        executor: ProcessPoolExecutor,
        fn: Any,
        calls: Iterator[tuple[Any, ...]],
        chunksize: int,
        check: Callable[[ProcessPoolEngine], object],
    ) -> None:
        self._engine = executor._engine
        self._check = check
        self._options = executor._options
        self._calls = calls
        self._chunksize = chunksize
        self._name = function_name(fn)
        self._packed = self._engine.pack_function(fn)
        self._result: IMapIterator[Any] = IMapIterator(0, chunked=True)
        self._result._keeps = executor._whole or executor
        self._sent = 0
        self._is_all = False

    def send_all(self) -> None:
        """Send all chunks."""
        chunks = list(self._chunks())
        self._result._show(progress_of(self._options, sum(map(len, chunks))))
        self._is_all = True
        self._result.set_length(len(chunks))
        if chunks:
            self._engine.add_chunks(self._result, self._packed, STARMAP, chunks, self._name, self._options)
        else:
            self._result._keeps = None

    def send(self, most: int) -> None:
        """Send up to `most` chunks. Raises RuntimeError when the executor takes no more calls."""
        if self._is_all:
            return
        messages = [(self._packed, STARMAP, chunk) for chunk in itertools.islice(self._chunks(), most)]
        if messages and self._engine.state != RUN:
            self._check(self._engine)
        self._engine.add_tasks(self._result, self._sent, messages, self._name, self._options)
        self._sent += len(messages)
        if len(messages) < most:
            self._is_all = True
            if self._result.set_length(self._sent):
                self._result._keeps = None

    def _chunks(self) -> Iterator[tuple[Any, ...]]:
        while chunk := tuple(itertools.islice(self._calls, self._chunksize)):
            yield chunk

    def cancel(self) -> None:
        """Drop what no worker has begun."""
        self._engine.cancel_job(self._result)
        self._result._keeps = None

    def results(self, deadline: float | None) -> Iterator[Any]:
        """Yield the results; whatever ends that early drops what has not begun."""
        try:
            while True:
                left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                try:
                    chunk = self._result.next(left)
                except StopIteration:
                    break
                self.send(1)
                chunk.reverse()
                while chunk:  # nothing here holds what was given back
                    yield chunk.pop()
        except BaseException:
            self.cancel()
            raise
