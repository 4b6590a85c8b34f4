"""Under which name a public class is shown: that of its door, or of the module that a drop-in program knows.

Where it is in truth is for pickles: who receives an object then loads the room where its class is, and no door.
"""

from __future__ import annotations

from polyproc._lazy import load

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    C = TypeVar("C", bound=type[Any])


class Shown:
    """The package under which all are shown. One instance, `shown`."""

    def __init__(self) -> None:
        self.package = "polyproc"
        self.homes: dict[type, tuple[str, str]] = {}  # class -> its place, as `kind_of` says it; its door

    def rename(self, package: str) -> None:
        """Show all under another package."""
        self.package = package
        for cls, (_, door) in self.homes.items():
            cls.__module__ = f"{package}.{door}" if door else package


shown = Shown()


def public(door: str) -> Callable[[C], C]:
    """Show a class as one of a door; of the front door for ""."""

    def show(cls: C) -> C:
        shown.homes[cls] = f"{cls.__module__}:{cls.__qualname__}", door
        cls.__module__ = f"{shown.package}.{door}" if door else shown.package
        return cls

    return show


def kind_of(obj: object) -> type | str:
    """Return what to pickle for the class of an object: where it is, if that is a public class itself."""
    cls = type(obj)
    home = shown.homes.get(cls)
    return cls if home is None else home[0]


def of_kind(kind: type[Any] | str) -> Any:
    """Return the class that `kind_of` has described."""
    return load(*kind.split(":")) if isinstance(kind, str) else kind


def remake(kind: type[Any] | str) -> Any:
    """Make an object of a class, without its `__init__`: its state comes after."""
    cls = of_kind(kind)
    return cls.__new__(cls)


class Remade:
    """What is pickled as an object of its class with its state."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return remake, (kind_of(self),), self.__getstate__()
