"""Descriptors that cross with a child at its start: how they are pickled, and found again in the child."""

from __future__ import annotations

from polyproc._lazy import load
from polyproc._pickling.spawning import current

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any


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


class SentFd:
    """A descriptor that a child was sent, by its place among all that were sent."""

    def __init__(self, index: int) -> None:
        self.index = index

    def detach(self) -> int:
        """Return the descriptor; it is the caller's to close."""
        return received.fds[self.index]


def DupFd(fd: int) -> Any:
    """Return an object to pickle that stands for `fd`; its `detach()` gives it in the process that reads the pickle.

    In the child being prepared if there is one, else in whichever process reads it first, while this one lives: `fd`
    may be closed meanwhile.
    """
    child = current()
    if child is None:
        return load("polyproc._connection.sharer", "DupFd")(fd)  # type: ignore[operator]
    return child.DupFd(child.duplicate_for_child(fd))
