"""The socket of a listener, as programs reach for it: `listener._listener._socket`.

They set a time limit for `accept` there, or wait for the socket to be readable and then accept. The socket itself never
blocks, as admission needs it; the limit is kept beside it.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket

from polyproc._platform.greenlets import own_socket_class
from polyproc._platform.handles import ready
from polyproc._typing import TYPE_CHECKING, Any, NamedTuple


class Admitted(NamedTuple):
    """A peer that is through: its socket, which blocks, its address, and what it asked for."""

    sock: _socket.socket
    address: Any
    request: bytes


# Not what somebody may have put in its place, which does as it likes with time limits.
if TYPE_CHECKING:
    from socket import socket as _Socket
else:
    _Socket = own_socket_class()


class ListeningSocket(_Socket):
    """A listening socket. What a program sets as its time limit is that of the listener's `accept`.

    Attributes:
        limit: how long `accept` waits for a peer, in seconds; None for ever.
        is_watched: whether somebody has asked for the descriptor, to wait for it beside others.
    """

    def __init__(self, family: int) -> None:
        super().__init__(family)
        self.limit: float | None = None
        self.is_watched = False
        super().setblocking(False)

    def settimeout(self, value: float | None) -> None:
        """Set how long `accept` waits; 0 for not at all, None for ever."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self.limit = value

    def gettimeout(self) -> float | None:
        """Return how long `accept` waits; None for ever."""
        return self.limit

    def setblocking(self, flag: bool) -> None:
        """Make `accept` wait without limit, or not at all."""
        self.limit = None if flag else 0.0

    def getblocking(self) -> bool:
        """Return whether `accept` waits."""
        return self.limit != 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept whoever comes, within the limit: no key is asked for."""
        if not ready([self.number()], self.limit):
            raise TimeoutError("timed out") if self.limit else BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return super().accept()

    def fileno(self) -> int:
        """Return the descriptor."""
        self.is_watched = True
        return self.number()

    def number(self) -> int:
        """Return the descriptor, for ourselves."""
        return super().fileno()


class SocketListener:
    """What the standard library's `Listener` has in its `_listener`: the socket, and what there is to know of it."""

    def __init__(self, listener: Any, listening: ListeningSocket, family: str) -> None:
        self._listener = listener
        self._socket = listening
        self._family = family

    @property
    def _address(self) -> Any:
        return self._listener.address

    @property
    def _last_accepted(self) -> Any:
        return self._listener.last_accepted

    def accept(self) -> Any:
        """Accept whoever comes, within the socket's limit, without a proof of the key: that is up to the program."""
        sock, address = self._socket.accept()
        return self._listener._connection_of(Admitted(sock, address, b""))

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()
