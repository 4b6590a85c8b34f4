"""The child that this thread prepares, or the message that it pickles, and the descriptors that go with either.

A slot that many packages read, sunk below them all: while a process object is pickled for a child, the handle under
construction stands here, per thread, and takes the descriptors that travel with it.
"""

from __future__ import annotations

import os
from _thread import _local

from polyproc._platform.posix import IS_WINDOWS, tells_of_processes

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from polyproc.abc import Spawning

    T = TypeVar("T")


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
    """Return the passage of the message that this thread pickles, or None."""
    return _slot.passage


def parcel() -> list[Any] | None:
    """Return the list of objects to keep with the pickle that this thread makes; None if it is not kept."""
    return _slot.parcel


def count_kept() -> int:
    """Return the number of objects kept for the pickle that this thread makes."""
    return len(_slot.parcel or ()) + (0 if _slot.passage is None else len(_slot.passage.kept))


def while_sending(passage: Passage | None, parcel: list[Any] | None, act: Callable[[], T]) -> T:
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


def while_preparing(child: Spawning, act: Callable[[], T]) -> T:
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


# How a descriptor crosses to another process at any time: to a child at its start, or to any reader of the pickle.
#
# There are three ways to a process that runs already. The sender must live until the pickle is read in all.
#
#     live_fd     It opens the descriptor anew as /proc/<pid>/fd/<number> of its sender (proc(5)), any number of
#                 times: for memory that the sender keeps open until it has arrived (in_transit.py). Files and pipes can
#                 be opened so, sockets cannot.
#     sent_fds    It asks the sender, whose sharer (_connection/sharer.py) sends a duplicate over a Unix socket, once,
#                 and then forgets it: for everything else.
#     SharedFd    Where there is no /proc, what live_fd is for goes the second way, too: once; or any number of times,
#                 as long as the sender keeps the pickle, or, where no sender is known, what was sent.


Receipt = tuple[int, int, int, int]  # where one goes: descriptor and inode of the sender's file, slot, number


class LiveFd:
    """A descriptor of another process, by its number there."""

    def __init__(self, pid: int, number: int, inode: int, flags: int, receipt: Receipt | None = None) -> None:
        self.pid = pid
        self.receipt = receipt
        self.number = number
        self.inode = inode
        self.flags = flags

    def detach(self) -> int:
        """Open it here; the descriptor is the caller's to close.

        Raises:
            RuntimeError: its sender has ended or closed it, or belongs to another user.
        """
        try:
            fd = os.open(f"/proc/{self.pid}/fd/{self.number}", self.flags | os.O_CLOEXEC)
        except OSError as error:
            raise RuntimeError(f"{self._what()} has ended or belongs to another user") from error
        finally:
            self.arrived()
        if os.fstat(fd).st_ino != self.inode:
            os.close(fd)
            raise RuntimeError(f"{self._what()} has closed what it sent")
        return fd

    def arrived(self) -> None:
        """Tell the sender that nothing is to be kept for this message any more."""
        receipt, self.receipt = self.receipt, None
        if receipt is not None:
            from polyproc._pickling.in_transit import acknowledge

            acknowledge(self.pid, *receipt)

    def _what(self) -> str:
        return f"a shared object cannot be received: process {self.pid}, which sent it,"


def live_fd(fd: int, flags: int = os.O_RDWR, owner: object = None) -> Any:
    """Return an object to pickle that stands for `fd`; its `detach()` gives it in the process that reads the pickle.

    `owner`, whose end would close it, is kept until the pickle has arrived: see in_transit.py.
    """
    if current() is not None:
        return DupFd(fd)
    if IS_WINDOWS:
        from polyproc._pickling.windows_handle import SentHandle  # type: ignore[attr-defined]  # seen on Windows alone

        return SentHandle(fd, parcel())
    if not tells_of_processes():
        if owner is not None and parcel() is None and passage() is None:  # the pickle may be kept, and read often
            from polyproc._connection.sharer import sharer

            return SharedFd(sharer.ticket_of(owner, fd))
        return SharedFd(_ticket((fd,), parcel() is not None))
    inode = os.fstat(fd).st_ino
    receipt = None
    if owner is not None:
        kept = parcel()
        if kept is not None:
            kept.append(owner)
        else:
            from polyproc._pickling.in_transit import in_transit

            receipt = in_transit.keep(owner, passage())
    return LiveFd(os.getpid(), fd, inode, flags, receipt)


class SharedFd:
    """A descriptor of another process, which that one has to be asked for."""

    def __init__(self, ticket: Any) -> None:
        self.ticket = ticket

    def detach(self) -> int:
        """Fetch it; it is the caller's to close. Raises RuntimeError: its sender has ended or given it up."""
        [fd] = self.ticket.detach()
        return fd  # type: ignore[no-any-return]


class InheritedFds:
    """Descriptors that go with a child's start."""

    def __init__(self, sent: list[Any]) -> None:
        self.sent = sent

    def detach(self) -> list[int]:
        """Return them; they are the caller's to close."""
        return [one.detach() for one in self.sent]


def sent_fds(*fds: int) -> Any:
    """Return an object to pickle that stands for descriptors; its `detach()` gives the list of them, once."""
    if current() is not None:
        return InheritedFds([DupFd(fd) for fd in fds])
    if IS_WINDOWS:
        return InheritedFds([live_fd(fd) for fd in fds])
    return _ticket(fds)


def _ticket(fds: tuple[int, ...], lasts: bool = False) -> Any:
    """Share descriptors; until they are fetched or, if that `lasts`, as long as the pickle that is made now is kept."""
    from polyproc._connection.sharer import sharer

    ticket = sharer.share(fds, lasts)
    kept = parcel()
    if kept is not None or passage() is not None:  # else nobody knows what it will travel through
        from polyproc._pickling.in_transit import Unused

        unused: Any = Unused(ticket.key)
        if kept is not None:
            kept.append(unused)
        else:
            from polyproc._pickling.in_transit import in_transit

            in_transit.keep(unused, passage())
    return ticket
