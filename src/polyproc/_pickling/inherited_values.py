"""What all children of a kind get, and the later ones as the first did: a pool's workers.

A child that is a copy of its parent has it already, and need not be sent it: it may be what cannot be pickled. For the
others it is pickled once, by who starts the first: the thread that starts later ones could not, while the module that
something of it is found in is still being imported by a thread that waits for the pool.
"""

from __future__ import annotations

from polyproc._base.modules import load
from polyproc._base.typing import Any, Generic, TypeVar
from polyproc._pickling.spawning import current, set_spawning

T = TypeVar("T")

_LARGEST = 1 << 20  # more is not kept twice


class InheritedValues:
    """What this process keeps for its copies. One instance, `inherited_values`."""

    def __init__(self) -> None:
        self.kept: InheritedValue[Any] | None = None


inherited_values = InheritedValues()


class InheritedValue(Generic[T]):
    """A value that is sent to most children, and found in memory by those whose launcher says so (`finds_kept`)."""

    def __init__(self, value: T) -> None:
        self.value = value
        self._packed: bytes | None = None
        self._is_to_be_packed = True

    def __reduce__(self) -> tuple[Any, ...]:
        if getattr(current(), "finds_kept", False):
            return _find, ()
        if self._is_to_be_packed:
            self._is_to_be_packed = False
            self._packed = _pack(self.value)
        return (InheritedValue, (self.value,)) if self._packed is None else (_open, (self._packed,))


class _HasDescriptorsError(Exception):
    """What is pickled has descriptors, which each child is passed for itself."""


class _AnyChild:
    """Stands for the child being prepared, where what is pickled shall serve any."""

    method = "spawn"

    def duplicate_for_child(self, fd: int) -> int:
        raise _HasDescriptorsError

    def DupFd(self, fd: int) -> Any:
        raise _HasDescriptorsError


def _pack(value: object) -> bytes | None:
    """Pickle what any child can open; return None if each has to be sent it for itself."""
    child = current()
    set_spawning(_AnyChild())
    try:
        from polyproc._pickling.pickler import dumps

        packed: bytes = dumps(value)
    except Exception:  # noqa: BLE001  (if it cannot be pickled at all, that shows when the child itself is)
        return None
    finally:
        set_spawning(child)
    return packed if len(packed) <= _LARGEST else None


def _open(packed: bytes) -> InheritedValue[Any]:
    return InheritedValue(load("_pickle", "loads")(packed))  # type: ignore[operator]


def _find() -> InheritedValue[Any] | None:
    return inherited_values.kept
