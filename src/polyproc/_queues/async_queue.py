"""Coroutine methods of queues. A task that was cancelled has got nothing and put nothing."""

from __future__ import annotations

import queue
from functools import partial

from polyproc._aio.loops import AioView, Ticks, in_thread, readable
from polyproc._base.typing import Any, AsyncIterator, Callable, Generic, Iterable, TypeVar
from polyproc._queues.any_queue import ShutDown

T = TypeVar("T")


class AsyncQueue(AioView, Generic[T]):
    """A queue. `get` waits for the queue's descriptor; for a free place it is looked up to 100 times a second.

    What a queue itself has not, as a `SimpleQueue` has no `shutdown`, raises AttributeError.
    """

    def __init__(self, of: Any) -> None:
        super().__init__(of)
        # Of the queue's own `get` and `put`, so that a subclass that overrides them is heard.
        is_full_grown = hasattr(of, "put_many")
        self._get_now: Callable[[], T] = partial(of.get, False) if is_full_grown else of.get_nowait
        self._put_now: Callable[[T], None] = partial(of.put, block=False) if is_full_grown else of.put

    def _descriptor(self) -> int:
        fileno = getattr(self._of, "fileno", None)
        fd: int = self._of._reader.fileno() if fileno is None else fileno()
        return fd

    async def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Remove and return the oldest item; wait up to `timeout` seconds for one. Raises as the queue's `get`."""
        item: T = await self._got(self._get_now, block, timeout)
        return item

    async def _got(self, get_now: Callable[[], Any], block: bool, timeout: float | None) -> Any:
        """Call until there is something to get. What was got is never held over a wait."""
        ticks = Ticks(timeout)
        while True:
            try:
                return get_now()
            except queue.Empty:
                if not block or ticks.is_over():
                    raise
            if await readable(self._descriptor(), ticks.left()):
                try:
                    return get_now()
                except queue.Empty:  # another consumer was faster, or is about to take it
                    pass
                await ticks.next()

    async def get_nowait(self) -> T:
        """Remove and return the oldest item or raise queue.Empty."""
        return await self.get(False)

    async def put(self, obj: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; wait up to `timeout` seconds for a free place. Raises as the queue's `put`."""
        ticks = Ticks(timeout)
        while True:
            try:
                self._put_now(obj)
                return
            except queue.Full:
                if not block or ticks.is_over():
                    raise
            await ticks.next()

    async def put_nowait(self, obj: T) -> None:
        """Add an item or raise queue.Full."""
        await self.put(obj, False)

    async def get_many(self, max_items: int | None = None, block: bool = True, timeout: float | None = None) -> list[T]:
        """Remove and return what is there, up to `max_items`; wait up to `timeout` seconds for the first."""
        items: list[T] = await self._got(partial(self._of.get_many, max_items, False), block, timeout)
        return items

    async def put_many(self, items: Iterable[T], block: bool = True, timeout: float | None = None) -> None:
        """Add items in order; wait up to `timeout` seconds in all for free places."""
        ticks = Ticks(timeout)
        for item in items:
            await self.put(item, block, ticks.left())

    async def qsize(self) -> int:
        """Return how many items are in the queue at this moment."""
        size: int = self._of.qsize()
        return size

    async def empty(self) -> bool:
        """Return whether nothing can be got at this moment."""
        found: bool = self._of.empty()
        return found

    async def full(self) -> bool:
        """Return whether there is no free place at this moment."""
        found: bool = self._of.full()
        return found

    async def shutdown(self, immediate: bool = False) -> None:
        """Refuse further items; with `immediate`, drop what is in it. Waiting tasks get ShutDown."""
        self._of.shutdown(immediate)

    async def close(self) -> None:
        """Put and get nothing more in this process."""
        self._of.close()

    async def join_thread(self) -> None:
        """Wait until what this process has put is in the queue; only after `close`."""
        await in_thread(self._of.join_thread, lambda: None)

    async def cancel_join_thread(self) -> None:
        """Exit without waiting until the items of this process are in the queue."""
        self._of.cancel_join_thread()

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            try:
                yield await self.get()
            except ShutDown:
                return


class AsyncJoinableQueue(AsyncQueue[T]):
    """A queue that counts its items until they are done."""

    async def task_done(self) -> None:
        """Mark an item as done. Raises ValueError when called more often than items were put."""
        self._of.task_done()

    async def join(self) -> None:
        """Wait until every item that was put is done."""
        ticks = Ticks(None)
        while self._of._unfinished():
            await ticks.next()
