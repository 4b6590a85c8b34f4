"""Under which name a public class is shown: that of its public module, or of the module that a drop-in program knows.

Pickles name the module where the class is defined: the receiver of an object loads that one, and no public module.
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
        self.homes: dict[type, tuple[str, str]] = {}  # class -> its place, as `kind_of` says it; its public module

    def rename(self, package: str) -> None:
        """Show all under another package."""
        self.package = package
        for cls, (_, module) in self.homes.items():
            cls.__module__ = f"{package}.{module}" if module else package


shown = Shown()


def public(module: str) -> Callable[[C], C]:
    """Show a class as one of a public module; as one of polyproc itself for ""."""

    def show(cls: C) -> C:
        shown.homes[cls] = f"{cls.__module__}:{cls.__qualname__}", module
        cls.__module__ = f"{shown.package}.{module}" if module else shown.package
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
