"""Shared by all queues: their errors, many items at once, iteration until shut down, subclasses that reach inside."""

from __future__ import annotations

import queue
import time
from contextlib import suppress
from itertools import repeat, starmap
from types import CodeType

from polyproc._base.modules import load, loaded, public, said
from polyproc._base.typing import TYPE_CHECKING, Any, AsyncIterator, Generic, Iterable, Iterator, TypeVar
from polyproc._platform.handles import due

if TYPE_CHECKING:
    from polyproc._queues.async_queue import AsyncQueue


# The exceptions of a queue, which are those of the module `queue`; ShutDown is there from Python 3.13 on.


Empty = queue.Empty
Full = queue.Full

if hasattr(queue, "ShutDown"):
    ShutDown: type[Exception] = queue.ShutDown
else:

    class _ShutDown(Exception):
        """A queue was shut down: nothing can be put, and what there was has been got."""

    _ShutDown.__name__ = _ShutDown.__qualname__ = "ShutDown"
    ShutDown = public("queues")(_ShutDown)


# What is said of queues that are closed, and of sizes that are none.

NO_LIMIT = 2**31 - 1  # what `_maxsize` is then: a semaphore's largest value, as in the standard library


def is_closed(queue: object) -> ValueError:
    """Return the error of what is put into, or asked of, a queue that this process has closed."""
    text = "close() says that this process puts and gets nothing more"
    return ValueError(f"Queue {queue!r} is closed: {text}; put before it, or make another queue")


def whole_size(maxsize: Any) -> int:
    """Return a queue's size that is no plain int. Raises TypeError if it is no whole number."""
    if isinstance(maxsize, float) and maxsize <= 0:
        return 0
    size: int = said("whole", maxsize, "maxsize is a number of items, 0 for no limit")
    return size


T = TypeVar("T")


class Batches(Generic[T]):
    """Methods made of the queue's own `put` and `get`, so that a subclass may override these."""

    if TYPE_CHECKING:

        @property
        def aio(self) -> AsyncQueue[T]:
            """The methods as coroutines."""
            ...

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
        return self.aio.__aiter__()


# A subclass that overrides the insides of a queue gets the insides that it overrides (docs/adr/0017).
#
# Libraries subclass the standard library's queues and replace how they feed their pipe, or what goes with them to a
# child. On our queues, which have no pipe, that would have no effect, or break. Such a subclass is told by the names
# that its code uses; its base becomes the queue's classic form, which is built as theirs.
_INSIDES = frozenset(
    (
        "_after_fork",
        "_buffer",
        "_feed",
        "_finalize_close",
        "_finalize_join",
        "_notempty",
        "_recv",
        "_recv_bytes",
        "_reset",
        "_rlock",
        "_send",
        "_send_bytes",
        "_start_thread",
        "_wlock",
    )
)


class Subclassed(type):
    """The type of queues that have a classic form: `_classic` says where it is."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Subclassed:
        if "_classic" not in namespace and not _INSIDES.isdisjoint(_names(namespace)):
            bases = tuple(_classic_form(base) for base in bases)
        return super().__new__(mcls, name, bases, namespace)

    def __instancecheck__(cls, obj: object) -> bool:
        """Return True for objects of the classic form, too."""
        return super().__instancecheck__(obj) or cls.__subclasscheck__(type(obj))

    def __subclasscheck__(cls, kind: type) -> bool:
        """Return True for subclasses of the classic form, too."""
        if super().__subclasscheck__(kind):
            return True
        module, name = cls.__dict__.get("_classic", ("", ""))
        return loaded(module) is not None and load(module, name) in kind.__mro__


def _classic_form(base: type) -> type:
    place = base.__dict__.get("_classic")
    return base if place is None else load(*place)  # type: ignore[return-value]


def _names(namespace: dict[str, Any]) -> set[str]:
    """Return the names that a class defines, and those that its functions use."""
    names = set(namespace)
    for member in namespace.values():
        for function in (member.fget, member.fset) if isinstance(member, property) else (member,):
            code = getattr(getattr(function, "__func__", function), "__code__", None)
            if isinstance(code, CodeType):
                names |= _names_in(code)
    return names


def _names_in(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names_in(constant)
    return names
