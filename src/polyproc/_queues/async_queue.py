"""Coroutine methods of queues. A task that was cancelled has got nothing and put nothing."""

from __future__ import annotations

import queue
from functools import partial

from polyproc._aio.loops import AioView, Ticks, readable
from polyproc._base.typing import Any, AsyncIterator, Callable, Iterable
from polyproc._queues.any_queue import Batches
from polyproc._queues.closing import ShutDown


class AsyncQueue(AioView):
    """A queue. `get` waits for the queue's descriptor; for a free place it is looked up to 100 times a second."""

    def __init__(self, of: Any) -> None:
        super().__init__(of)
        # Of the queue's own `get` and `put`, so that a subclass that overrides them is heard.
        is_full_grown = isinstance(of, Batches)
        self._get_now = partial(of.get, False) if is_full_grown else of.get_nowait
        self._put_now = partial(of.put, block=False) if is_full_grown else of.put

    def _descriptor(self) -> int:
        fileno = getattr(self._of, "fileno", None)
        fd: int = self._of._reader.fileno() if fileno is None else fileno()
        return fd

    async def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return the oldest item; wait up to `timeout` seconds for one. Raises as the queue's `get`."""
        return await self._got(self._get_now, block, timeout)

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
                    await ticks.next()

    async def get_nowait(self) -> Any:
        """Remove and return the oldest item or raise queue.Empty."""
        return await self.get(False)

    async def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; wait up to `timeout` seconds for a free place. Raises as the queue's `put`."""
        ticks = Ticks(timeout)
        while True:
            try:
                self._put_now(obj)
            except queue.Full:
                if not block or ticks.is_over():
                    raise
                await ticks.next()
            else:
                return

    async def get_many(
        self, max_items: int | None = None, block: bool = True, timeout: float | None = None
    ) -> list[Any]:
        """Remove and return what is there, up to `max_items`; wait up to `timeout` seconds for the first."""
        return await self._got(partial(self._of.get_many, max_items, False), block, timeout)  # type: ignore[no-any-return]

    async def put_many(self, items: Iterable[Any], block: bool = True, timeout: float | None = None) -> None:
        """Add items in order; wait up to `timeout` seconds in all for free places."""
        ticks = Ticks(timeout)
        for item in items:
            await self.put(item, block, ticks.left())

    async def join(self) -> None:
        """Wait until every item that was put is done."""
        ticks = Ticks(None)
        while self._of._unfinished():
            await ticks.next()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            try:
                yield await self.get()
            except ShutDown:
                return
