"""The child being prepared now, and the check for what only inheritance can share.

A slot that many packages read, sunk below them all: while a process object is pickled for a child, the handle under
construction stands here, per thread, and takes the descriptors that travel with it.
"""

from __future__ import annotations

import os
from _thread import _local

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from polyproc.abc import Spawning

    _T = TypeVar("_T")


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


def count_kept() -> int:
    """Return how much is kept for what this thread pickles."""
    return len(_slot.parcel or ()) + (0 if _slot.passage is None else len(_slot.passage.kept))


def while_sending(passage: Passage | None, parcel: list[Any] | None, act: Callable[[], _T]) -> _T:
    """Make a passage that of the message that this thread pickles, while `act` runs; return what that returns.

    No context manager: a signal handler that raises as one is entered or left would leave the passage in place.
    """
    slot = _slot
    before = slot.passage, slot.parcel
    try:
        slot.passage, slot.parcel = passage, parcel
        return act()
    finally:
        slot.passage, slot.parcel = before


def while_preparing(child: Spawning, act: Callable[[], _T]) -> _T:
    """Make `child` the one being prepared by this thread, while `act` runs; return what that returns."""
    slot = _slot
    try:
        slot.child = child
        return act()
    finally:
        slot.child = None


def set_spawning(child: Spawning | None) -> None:
    """Make `child` the one being prepared until told otherwise: for libraries with launchers of their own."""
    _slot.child = child


def assert_spawning(obj: object) -> None:
    """Raise RuntimeError unless a child is being prepared: `obj` is shared by inheritance alone."""
    if current() is None:
        raise RuntimeError(f"{type(obj).__name__} objects should only be shared between processes through inheritance")


# Descriptors that cross with a child at its start: how they are pickled, and found again in the child.


class Received:
    """The descriptors that a fork server's child was given with its start. One instance, `received`."""

    def __init__(self) -> None:
        self.fds: list[int] = []


received = Received()


def get_inherited_fds() -> list[int] | None:
    """Return the descriptors that this process was given with its start by a fork server; None if it has none."""
    return received.fds or None


class InheritedFd:
    """A descriptor that a child has under the number that the pickle names."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def detach(self) -> int:
        """Return the descriptor; it is the caller's to close."""
        return self.fd


class InheritsFds:
    """A child under construction that inherits descriptors, as its parent numbers them."""

    _fds: list[int]
    _copies: list[int]  # to be closed when it has them

    def duplicate_for_child(self, fd: int) -> int:
        """Pass `fd` to the child; return its number there, another one each time: each closes its own."""
        if fd in self._fds:
            fd = os.dup(fd)
            self._copies.append(fd)
        self._fds.append(fd)
        return fd

    def DupFd(self, fd: int) -> InheritedFd:
        """Return what to pickle for a descriptor that is passed."""
        return InheritedFd(fd)


class SentFd:
    """A descriptor that a child was sent, by its place among all that were sent."""

    def __init__(self, index: int) -> None:
        self.index = index

    def detach(self) -> int:
        """Return the descriptor; it is the caller's to close."""
        return received.fds[self.index]


class IsSentFds:
    """A child under construction that is sent descriptors with its job."""

    _fds: list[int]

    def duplicate_for_child(self, fd: int) -> int:
        """Pass `fd` to the child; return its place among all that are passed."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def DupFd(self, fd: int) -> SentFd:
        """Return what to pickle for a descriptor that is passed, by its place."""
        return SentFd(fd)


def DupFd(fd: int) -> Any:
    """Return an object to pickle that stands for `fd`; its `detach()` gives it in the process that reads the pickle.

    In the child being prepared if there is one, else in whichever process reads it first, while this one lives: `fd`
    may be closed meanwhile.
    """
    child = current()
    if child is None:
        from polyproc._connection.sharer import DupFd

        return DupFd(fd)
    return child.DupFd(child.duplicate_for_child(fd))
