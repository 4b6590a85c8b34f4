"""Descriptors that cross with a child at its start: how they are pickled, and found again in the child."""

from __future__ import annotations

from polyproc._pickling.spawning import current

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any


class Received:
    """The descriptors that a template's child was given with its start. One instance, `received`."""

    def __init__(self) -> None:
        self.fds: list[int] = []


received = Received()


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
    """Return an object to pickle that stands for `fd` in the child being prepared; its `detach()` gives it there."""
    child = current()
    if child is None:
        raise RuntimeError("a descriptor can be pickled only for a child that is being started")
    return child.DupFd(fd)
