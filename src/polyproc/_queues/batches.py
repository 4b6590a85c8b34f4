"""What every queue can do beyond the standard library's: many items at once, and iteration until it is shut down."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import repeat, starmap

from polyproc._aio_attribute import HasAio
from polyproc._platform.handles import due
from polyproc._queues.shut_down import Empty, ShutDown
from polyproc._typing import TYPE_CHECKING, AsyncIterator, Generic, Iterable, Iterator, TypeVar

T = TypeVar("T")


class Batches(HasAio, Generic[T]):
    """Made of the queue's own `put` and `get`, so that a subclass that overrides them is heard."""

    _aio_class = ("polyproc._queues.async_queue", "AsyncQueue")

    if TYPE_CHECKING:

        def put(self, obj: T, block: bool = True, timeout: float | None = None) -> None:
            """Add an item."""

        def get(self, block: bool = True, timeout: float | None = None) -> T:
            """Remove and return an item."""
            ...

        def _keep(self, items: list[T]) -> None:
            """Put items that were taken back, to be got next."""

    def put_many(self, items: Iterable[T], block: bool = True, timeout: float | None = None) -> None:
        """Add items in order; wait up to `timeout` seconds in all for free places.

        Raises:
            queue.Full: no place came free in time; the items before stay in the queue.
            ShutDown, ValueError: as `put`.
        """
        deadline = None if timeout is None else due(timeout)
        for item in items:
            self.put(item, block, None if deadline is None else max(deadline - time.monotonic(), 0.0))

    def get_many(self, max_items: int | None = None, block: bool = True, timeout: float | None = None) -> list[T]:
        """Remove and return what is there, up to `max_items`; wait up to `timeout` seconds for the first.

        Where it raises, because an item cannot be opened or a signal handler has raised, what it had taken is not lost:
        the next `get` or `get_many` of this process returns it.

        Raises:
            queue.Empty: none came.
            ShutDown, ValueError: as `get`.
        """
        if max_items is not None and max_items <= 0:
            raise ValueError("max_items must be positive")
        found: list[T] = []
        try:
            # `extend` takes what `get` returns with no Python code in between that a signal handler could interrupt.
            found.extend(starmap(self.get, ((block, timeout),)))
            more = repeat((False,)) if max_items is None else repeat((False,), max_items - 1)
            with suppress(Empty, ShutDown):
                found.extend(starmap(self.get, more))
            return found
        except BaseException:
            if found:
                self._keep(found)
            raise

    def __iter__(self) -> Iterator[T]:
        """Yield items, waiting for each, until the queue is shut down and empty."""
        while True:
            try:
                yield self.get()
            except ShutDown:
                return

    def __aiter__(self) -> AsyncIterator[T]:
        """Iterate in asyncio and trio."""
        items: AsyncIterator[T] = self.aio.__aiter__()
        return items
