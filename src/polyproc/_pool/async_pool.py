"""Coroutine methods of a pool and of its results."""

from __future__ import annotations

from polyproc._aio.loops import AioView, ThreadEvent, in_thread
from polyproc._base.errors import TimeoutError as PolyprocTimeoutError
from polyproc._base.typing import Any, Callable, Iterable
from polyproc._pool.calls import Job
from polyproc._pool.imap import IMapIterator, ItemIterator
from polyproc._pool.pool import MapResult


async def _wait(job: Job | ItemIterator, is_ready: Callable[[], bool], timeout: float | None = None) -> bool:
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


class AsyncResults:
    """The results of an imap. It goes on after one that is an error."""

    def __init__(self, results: IMapIterator | ItemIterator) -> None:
        self._results = results

    def __aiter__(self) -> AsyncResults:
        return self

    async def __anext__(self) -> Any:
        await _wait(self._results, self._results.is_ready)
        try:
            return self._results.next(0)
        except StopIteration:
            raise StopAsyncIteration from None


class AsyncResult(AioView):
    """The result of a call, or of a map. Who is cancelled waits no more; the call goes on."""

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until it is done, up to `timeout` seconds."""
        await _wait(self._of, self._of.ready, timeout)

    async def get(self, timeout: float | None = None) -> Any:
        """Wait as `wait` does; return the result or raise what the call raised. Raises TimeoutError."""
        if not await _wait(self._of, self._of.ready, timeout):
            raise PolyprocTimeoutError
        return self._of.get(0)


class AsyncPool(AioView):
    """A pool. Who is cancelled in `apply` cancels the call; in the others, what no worker has begun is dropped."""

    async def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: dict[str, Any] = {}) -> Any:  # noqa: B006
        """Call `func(*args, **kwds)` in a worker; return the result."""
        return await self._of.submit(func, *args, **kwds)

    async def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Call `func` for each item; return the results in order."""
        return await self._all(self._of.map_async(func, iterable, chunksize))

    async def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Call `func(*item)` for each item; return the results in order."""
        return await self._all(self._of.starmap_async(func, iterable, chunksize))

    async def _all(self, result: MapResult) -> list[Any]:
        try:
            found: list[Any] = await result
        except BaseException:
            if not result.ready():
                self._of._engine.cancel_job(result)
            raise
        return found

    def imap(self, *args: Any, **kwds: Any) -> Any:
        """Return the pool's `imap`, for `async for`."""
        return self._of.imap(*args, **kwds)

    def imap_unordered(self, *args: Any, **kwds: Any) -> Any:
        """Return the pool's `imap_unordered`, for `async for`."""
        return self._of.imap_unordered(*args, **kwds)

    async def join(self) -> None:
        """Wait for the workers' end; only after `close` or `terminate`."""
        await in_thread(self._of.join, lambda: None)
