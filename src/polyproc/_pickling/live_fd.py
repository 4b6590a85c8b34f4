"""How a descriptor crosses to another process at any time: to a child at its start, or to whoever reads the pickle.

There are three ways to a process that runs already. The sender must live until the pickle is read in all.

    live_fd     It opens the descriptor anew as /proc/<pid>/fd/<number> of its sender (proc(5)), any number of times:
                for memory that the sender keeps open until it has arrived (in_transit.py). Files and pipes can be
                opened so, sockets cannot.
    sent_fds    It asks the sender, whose sharer (_connection/sharer.py) sends a duplicate over a Unix socket, once,
                and then forgets it: for everything else.
    SharedFd    Where there is no /proc, what live_fd is for goes the second way, too: once; or any number of times,
                as long as the sender keeps the pickle, or, where it is not known who does, what was sent.
"""

from __future__ import annotations

import os

from polyproc._base.typing import Any
from polyproc._pickling.spawning import DupFd, current, parcel, passage
from polyproc._platform.posix import IS_WINDOWS, tells_of_processes

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
            RuntimeError: its sender has ended or given it up, or belongs to another user.
        """
        try:
            fd = os.open(f"/proc/{self.pid}/fd/{self.number}", self.flags | os.O_CLOEXEC)
        except OSError as error:
            raise RuntimeError(f"{self._what()} has ended or belongs to another user") from error
        finally:
            self.arrived()
        if os.fstat(fd).st_ino != self.inode:
            os.close(fd)
            raise RuntimeError(f"{self._what()} has given it up")
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

        return SentHandle(fd)
    if not tells_of_processes():
        if owner is not None and parcel() is None and passage() is None:  # who keeps the pickle may read it often
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

            receipt = in_transit.keep(owner)
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

            in_transit.keep(unused)
    return ticket
