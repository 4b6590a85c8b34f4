"""Value: what a manager makes for one value of any type."""

from __future__ import annotations

from polyproc._public import public
from polyproc._typing import Any


@public("managers")
class Value:
    """One value, of any type."""

    def __init__(self, typecode: Any, value: Any, lock: bool = True) -> None:
        self._typecode = typecode
        self._value = value

    def get(self) -> Any:
        """Return it."""
        return self._value

    def set(self, value: Any) -> None:
        """Set it."""
        self._value = value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._typecode!r}, {self._value!r})"

    value = property(get, set)
