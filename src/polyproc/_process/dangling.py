"""The process objects that are still referenced. CPython's test harness reads it."""

from __future__ import annotations

from polyproc._lazy import load

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from polyproc._process.process import BaseProcess


class Dangling:
    """The process objects that are still referenced: a WeakSet, made when the first one is.

    A child that starts nobody does not load what a WeakSet needs.
    """

    def __init__(self) -> None:
        self._set: Any = None

    def add(self, process: BaseProcess[Any]) -> None:
        """Note a process object, without keeping it alive."""
        if self._set is None:
            self._set = load("_weakrefset", "WeakSet")()  # type: ignore[operator]
        self._set.add(process)

    def copy(self) -> set[BaseProcess[Any]]:
        """Return those that live."""
        return set(self)

    def __iter__(self) -> Iterator[BaseProcess[Any]]:
        return iter(list(self._set or ()))


dangling = Dangling()
