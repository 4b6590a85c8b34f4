"""The child being prepared now, and the check for what only inheritance can share.

A slot that many rooms read, sunk below them all: while a process object is pickled for a child, the handle under
construction stands here, per thread, and takes the descriptors that travel with it.
"""

from __future__ import annotations

from _thread import _local

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from polyproc.abc import Spawning


class Passage:
    """The sending of a message: a function that returns the descriptor of what it travels through, and what is kept
    until it arrives (in_transit.py)."""

    __slots__ = ("kept", "through")

    def __init__(self, through: Callable[[], int]) -> None:
        self.through = through
        self.kept: list[tuple[int, int]] = []


class _Slot(_local):
    child: Spawning | None = None
    passage: Passage | None = None
    parcel: list[Any] | None = None


_slot = _Slot()


def current() -> Spawning | None:
    """Return the child being prepared by this thread, or None."""
    return _slot.child


def passage() -> Passage | None:
    """Return what is known of the message that this thread pickles."""
    return _slot.passage


def parcel() -> list[Any] | None:
    """Return where to put what is to be kept with the pickle that this thread makes; None if nobody keeps it."""
    return _slot.parcel


class sending:
    """Make a passage that of the message that this thread pickles, for the time of a block."""

    def __init__(self, passage: Passage | None, parcel: list[Any] | None = None) -> None:
        self._new = passage, parcel

    def __enter__(self) -> None:
        self._before = _slot.passage, _slot.parcel
        _slot.passage, _slot.parcel = self._new

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _slot.passage, _slot.parcel = self._before


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
