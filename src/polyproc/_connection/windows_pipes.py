"""Listeners and clients by the name of a pipe (AF_PIPE).

What goes through a pipe is what goes through a socket of ours. The standard library's peers send whole messages in
place of that: both sides have to be ours. Peers prove that they have the key as at a socket: see admission.py.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import errno
import itertools
import os
import time
from typing import Any

from polyproc._connection.admission import Admission
from polyproc._connection.connection import Connection
from polyproc._platform import windows_kernel as kernel
from polyproc._platform.posix import close_quietly

_SECONDS = 5.0  # that a client waits for a free end
_MAX_PEERS = 128  # of peers in their handshakes: each is waited for by an operation of its own
_OVERLAPPED, _FIRST_INSTANCE = 0x40000000, 0x80000
_NO_REMOTE = 8  # PIPE_REJECT_REMOTE_CLIENTS
_SIZE = 65536
_BUSY = {121, 231}  # SEM_TIMEOUT, PIPE_BUSY
_count = itertools.count()


def arbitrary_name() -> str:
    """Return a name that nobody uses."""
    return rf"\\.\pipe\polyproc-{os.getpid()}-{next(_count)}-{os.urandom(16).hex()}"


class PipeEnd:
    """The end of a pipe that somebody has connected to: what a handshake needs of a socket."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def fileno(self) -> int:
        """Return the handle."""
        return self._handle

    def setblocking(self, flag: bool) -> None:
        """Set whether reads and writes wait, or raise BlockingIOError."""
        kernel.set_blocking(self._handle, flag)

    def recv(self, size: int) -> bytes:
        """Read up to `size` bytes; none at the end."""
        return kernel.read(self._handle, size)

    def send(self, data: bytes) -> int:
        """Write; return how many bytes."""
        return kernel.write(self._handle, data)

    def detach(self) -> int:
        """Give up the handle, and return it."""
        handle, self._handle = self._handle, -1
        return handle

    def close(self) -> None:
        """Close it; a peer that has connected may still read what was written."""
        close_quietly(self.detach())


class ListeningPipe:
    """The name at which clients connect: what an admission needs of a listening socket. One end is always there."""

    is_watched = False

    def __init__(self, address: str) -> None:
        self.address = address
        self._end, self._connecting = self._new_end(_FIRST_INSTANCE)

    def _new_end(self, more: int = 0) -> tuple[int, Any]:
        mode = _winapi.PIPE_ACCESS_DUPLEX | _OVERLAPPED | more
        most = _winapi.PIPE_UNLIMITED_INSTANCES
        while True:
            end = _winapi.CreateNamedPipe(self.address, mode, _NO_REMOTE, most, _SIZE, _SIZE, 0, _winapi.NULL)
            try:
                return end, _winapi.ConnectNamedPipe(end, overlapped=True)
            except OSError as error:
                close_quietly(end)
                if error.winerror != _winapi.ERROR_NO_DATA:  # somebody has come and gone again
                    raise
            except BaseException:
                close_quietly(end)
                raise

    def number(self) -> int:
        """Return the handle to wait for: of an event that is set when somebody has connected."""
        return int(self._connecting.event)

    def has_one(self) -> bool:
        """Return false: what has connected stays here until it is returned."""
        return False

    def next(self) -> tuple[PipeEnd, str]:
        """Return the next that has connected, and the address. Raises BlockingIOError if there is none."""
        if _winapi.WaitForSingleObject(self._connecting.event, 0) != _winapi.WAIT_OBJECT_0:
            raise BlockingIOError(errno.EAGAIN, "nobody has connected")
        after = self._new_end()
        handle = self._end
        self._end, self._connecting = after
        return PipeEnd(handle), self.address

    def close(self) -> None:
        """Close the end at which nobody has connected; wake the waiters."""
        try:
            self._connecting.cancel()
        except OSError:  # somebody has connected
            pass
        handle, self._end = self._end, -1
        close_quietly(handle)


class PipeAdmission(Admission):
    """Accepts for a name. What `Admission` is for a listening socket.

    Args:
        address: the name.
        authkey: what peers must prove to know; None to let in everybody.
        has_request: whether a peer says, in a short message, what it wants before it is through.
    """

    def __init__(self, address: str, authkey: bytes | None, has_request: bool) -> None:
        pipe: Any = ListeningPipe(address)
        super().__init__(pipe, authkey, None, _is_anybody, has_request)
        self._places = _MAX_PEERS
        self._begin()

    def _arrivals_at(self, listening: Any) -> Any:
        return listening

    def _wake(self, listening: Any) -> None:
        """Do nothing: closing it wakes the waiters."""


def _is_anybody(end: object) -> bool:
    return True


def connect(address: str) -> Connection[Any, Any]:
    """Connect to a listener of that name; wait while all its ends are taken."""
    access = _winapi.GENERIC_READ | _winapi.GENERIC_WRITE
    until = time.monotonic() + _SECONDS
    while True:
        try:
            handle = _winapi.CreateFile(
                address, access, 0, _winapi.NULL, _winapi.OPEN_EXISTING, _winapi.FILE_FLAG_OVERLAPPED, _winapi.NULL
            )
            return Connection(handle)
        except OSError as error:
            if error.winerror not in _BUSY or time.monotonic() >= until:
                raise
        try:
            _winapi.WaitNamedPipe(address, 1000)
        except OSError as error:
            if error.winerror not in _BUSY:
                raise
