"""A manager for threads: nothing has to be shared, so it is the module itself that makes plain objects."""

from __future__ import annotations

import array
import sys

from polyproc._base.modules import public
from polyproc._base.typing import Any, Sequence


@public("dummy")
class Value:
    """One value."""

    def __init__(self, typecode: Any, value: Any, lock: bool = True) -> None:
        self._typecode = typecode
        self._value = value

    @property
    def value(self) -> Any:
        """The value."""
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._typecode!r}, {self._value!r})>"


@public("dummy")
class Namespace:
    """Attributes, and nothing else."""

    def __init__(self, /, **kwds: Any) -> None:
        self.__dict__.update(kwds)

    def __repr__(self) -> str:
        items = sorted(f"{name}={value!r}" for name, value in self.__dict__.items() if not name.startswith("_"))
        return f"{type(self).__name__}({', '.join(items)})"


def Array(typecode: str, sequence: Sequence[Any], lock: bool = True) -> array.array[Any]:
    """Return an array."""
    return array.array(typecode, sequence)


def Manager() -> Any:
    """Return the module: it has the methods of a manager."""
    return sys.modules["polyproc.dummy"]


def shutdown() -> None:
    """Do nothing."""
