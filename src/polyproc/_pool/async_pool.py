"""Coroutine methods of a pool and of its results."""

from __future__ import annotations

from polyproc._aio.loops import AioView, ThreadEvent, in_thread
from polyproc._base.errors import TimeoutError as PolyprocTimeoutError
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Generic, Iterable, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from polyproc._pool.imap import IMapIterator, ItemIterator
    from polyproc._pool.pool import ApplyResult, MapResult

T = TypeVar("T")


class _Job(Protocol):
    """An object that sets events when it changes."""

    def _tell(self, event: ThreadEvent) -> None: ...
    def _tell_no_more(self, event: ThreadEvent) -> None: ...


async def _wait(job: _Job, is_ready: Callable[[], bool], timeout: float | None = None) -> bool:
    """Wait until a job has something, up to `timeout` seconds; return whether it has."""
    while True:
        event = ThreadEvent()
        job._tell(event)
        try:
            if is_ready():
                return True
            if not await event.wait(timeout):
                return is_ready()
        finally:
            job._tell_no_more(event)


class AsyncResults(Generic[T]):
    """The results of an imap. It goes on after one that is an error."""

    def __init__(self, results: IMapIterator[T] | ItemIterator[T]) -> None:
        self._results = results

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        await _wait(self._results, self._results.is_ready)
        try:
            return self._results.next(0)
        except StopIteration:
            raise StopAsyncIteration from None


class AsyncApplyResult(AioView, Generic[T]):
    """The result of a call, or of a map. A task that is cancelled waits no more; the call goes on."""

    async def ready(self) -> bool:
        """Return whether the call is done."""
        found: bool = self._of.ready()
        return found

    async def successful(self) -> bool:
        """Return whether the call raised nothing. Raises ValueError when it is not done."""
        found: bool = self._of.successful()
        return found

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until the call is done, up to `timeout` seconds."""
        await _wait(self._of, self._of.ready, timeout)

    async def get(self, timeout: float | None = None) -> T:
        """Wait as `wait` does; return the result or raise what the call raised. Raises TimeoutError."""
        if not await _wait(self._of, self._of.ready, timeout):
            raise PolyprocTimeoutError
        result: T = self._of.get(0)
        return result


class AsyncPool(AioView):
    """A pool.

    A task that is cancelled in `apply` cancels the call; in the others, what no worker has begun is dropped.
    """

    async def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwds: dict[str, Any] = {}) -> T:  # noqa: B006
        """Call `func(*args, **kwds)` in a worker; return the result."""
        result: T = await self._of.submit(func, *args, **kwds)
        return result

    async def map(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """Call `func` for each item; return the results in order."""
        return await self._all(self._of.map_async(func, iterable, chunksize))

    async def starmap(self, func: Callable[..., T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """Call `func(*item)` for each item; return the results in order."""
        return await self._all(self._of.starmap_async(func, iterable, chunksize))

    async def _all(self, result: MapResult[T]) -> list[T]:
        try:
            return await result
        except BaseException:
            if not result.ready():
                self._of._engine.cancel_job(result)
            raise

    def imap(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1, *, buffersize: int | None = None
    ) -> IMapIterator[T] | ItemIterator[T]:
        """Return the pool's `imap`, for `async for`."""
        results: IMapIterator[T] = self._of.imap(func, iterable, chunksize, buffersize=buffersize)
        return results

    def imap_unordered(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1, *, buffersize: int | None = None
    ) -> IMapIterator[T] | ItemIterator[T]:
        """Return the pool's `imap_unordered`, for `async for`."""
        results: IMapIterator[T] = self._of.imap_unordered(func, iterable, chunksize, buffersize=buffersize)
        return results

    async def apply_async(self, func: Callable[..., T], *args: Any, **kwds: Any) -> ApplyResult[T]:
        """Begin a call as the pool's `apply_async`, with its arguments; return its result, which can be awaited."""
        result: ApplyResult[T] = self._of.apply_async(func, *args, **kwds)
        return result

    async def map_async(self, func: Callable[[Any], T], *args: Any, **kwds: Any) -> MapResult[T]:
        """Begin calls as the pool's `map_async`, with its arguments; return their result, which can be awaited."""
        result: MapResult[T] = self._of.map_async(func, *args, **kwds)
        return result

    async def starmap_async(self, func: Callable[..., T], *args: Any, **kwds: Any) -> MapResult[T]:
        """Begin calls as the pool's `starmap_async`, with its arguments; return their result, which can be awaited."""
        result: MapResult[T] = self._of.starmap_async(func, *args, **kwds)
        return result

    async def close(self) -> None:
        """Take no more calls; the workers end when all are done."""
        self._of.close()

    async def terminate(self) -> None:
        """End the workers; what is not done is dropped."""
        self._of.terminate()

    async def resize(self, processes: int) -> None:
        """Set the number of workers; those that are too many leave when their task is done."""
        self._of.resize(processes)

    async def join(self) -> None:
        """Wait for the workers' end; only after `close` or `terminate`."""
        await in_thread(self._of.join, lambda: None)
