"""The methods of proxies that are made from a list of names, for type checkers alone: nothing loads this module."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, MutableSet
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

class ListMethods(MutableSequence[T], metaclass=ABCMeta):
    """Those of a list."""

    def __add__(self, other: list[T], /) -> list[T]: ...
    def __mul__(self, times: int, /) -> list[T]: ...
    def __rmul__(self, times: int, /) -> list[T]: ...
    def copy(self) -> list[T]:
        """Return a list of the items, in this process."""

    def sort(self, *, key: Callable[[T], Any] | None = None, reverse: bool = False) -> None:
        """Sort the list in the server; `key` is pickled, and called there."""

class DictMethods(MutableMapping[K, V], metaclass=ABCMeta):
    """Those of a dictionary."""

    def __or__(self, other: Mapping[K, V], /) -> dict[K, V]: ...
    def __ror__(self, other: Mapping[K, V], /) -> dict[K, V]: ...
    def __reversed__(self) -> Iterator[K]: ...
    def copy(self) -> dict[K, V]:
        """Return a dictionary of the items, in this process."""

    def fromkeys(self, keys: Iterable[K], value: V, /) -> dict[K, V]:
        """Return a dictionary, in this process, with these keys and one value."""

class SetMethods(MutableSet[T], metaclass=ABCMeta):
    """Those of a set."""

    def copy(self) -> set[T]:
        """Return a set of the items, in this process."""

    def difference(self, *others: Iterable[Any]) -> set[T]:
        """Return a set of the items that are in none of the others."""

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Remove the items that are in one of the others."""

    def intersection(self, *others: Iterable[Any]) -> set[T]:
        """Return a set of the items that are in all of the others."""

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Remove the items that are not in all of the others."""

    def issubset(self, other: Iterable[Any], /) -> bool:
        """Return whether all items are in the other."""

    def issuperset(self, other: Iterable[Any], /) -> bool:
        """Return whether all items of the other are here."""

    def symmetric_difference(self, other: Iterable[T], /) -> set[T]:
        """Return a set of the items that are in one of the two alone."""

    def symmetric_difference_update(self, other: Iterable[T], /) -> None:
        """Keep, or add, the items that are in one of the two alone."""

    def union(self, *others: Iterable[T]) -> set[T]:
        """Return a set of the items of all."""

    def update(self, *others: Iterable[T]) -> None:
        """Add the items of the others."""

class ArrayMethods(Protocol):
    """Those of an array that is looked into by its indices."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...

class ResultMethods(Protocol):
    """Those of a result in the server."""

    def get(self, timeout: float | None = None) -> Any:
        """Return the result, waiting up to `timeout` seconds for it; or raise what the call raised."""

    def ready(self) -> bool:
        """Return whether the call is done."""

    def successful(self) -> bool:
        """Return whether the call raised nothing. Raises ValueError when it is not done."""

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call is done, up to `timeout` seconds."""

class PoolMethods(Protocol):
    """Those of a pool in the server; callbacks are called there."""

    def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwds: Mapping[str, Any] = ...) -> T:
        """Call `func(*args, **kwds)` in a worker; return the result."""

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = ...,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> ResultMethods:
        """Begin to call `func(*args, **kwds)` in a worker; return a proxy of its result."""

    def map(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """Call `func` for each item; return the results in order."""

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> ResultMethods:
        """Begin to call `func` for each item; return a proxy of the result."""

    def starmap(self, func: Callable[..., T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """Call `func(*item)` for each item; return the results in order."""

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> ResultMethods:
        """Begin to call `func(*item)` for each item; return a proxy of the result."""

    def imap(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1) -> Iterator[T]:
        """Call `func` for each item; yield the results in order."""

    def imap_unordered(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1) -> Iterator[T]:
        """Call `func` for each item; yield the results as they come."""

    def close(self) -> None:
        """Take no more calls."""

    def terminate(self) -> None:
        """End the workers; drop what is not done."""

    def join(self) -> None:
        """Wait for the workers' end; only after `close` or `terminate`."""
