"""The child being prepared now, and the check for what only inheritance can share.

A slot that many rooms read, sunk below them all: while a process object is pickled for a child, the handle under
construction stands here, per thread, and takes the descriptors that travel with it.
"""

from __future__ import annotations

from _thread import _local

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from types import TracebackType

    from polyproc.abc import Spawning


class _Slot(_local):
    child: Spawning | None = None


_slot = _Slot()


def current() -> Spawning | None:
    """Return the child being prepared by this thread, or None."""
    return _slot.child


class preparing:
    """Make `child` the one being prepared, for the time of a block."""

    def __init__(self, child: Spawning) -> None:
        self._child = child

    def __enter__(self) -> None:
        _slot.child = self._child

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _slot.child = None


def set_spawning(child: Spawning | None) -> None:
    """Make `child` the one being prepared until told otherwise: for libraries with launchers of their own."""
    _slot.child = child


def assert_spawning(obj: object) -> None:
    """Raise RuntimeError unless a child is being prepared: `obj` is shared by inheritance alone."""
    if current() is None:
        raise RuntimeError(f"{type(obj).__name__} objects should only be shared between processes through inheritance")
