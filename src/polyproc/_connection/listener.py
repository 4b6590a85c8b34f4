"""Listener and Client: meet by address, over TCP or a Unix socket."""

from __future__ import annotations

import os
import socket
import tempfile
from types import TracebackType
from typing import Any

from polyproc._cleanup.finalizers import Finalize
from polyproc._connection.auth import answer_challenge, deliver_challenge
from polyproc._connection.connection import Connection

Address = Any  # (host, port) or a path

default_family = "AF_UNIX" if hasattr(socket, "AF_UNIX") else "AF_INET"
families = ["AF_INET", *(["AF_UNIX"] if hasattr(socket, "AF_UNIX") else [])]


def arbitrary_address(family: str) -> Address:
    """Return an address that nobody uses."""
    if family == "AF_INET":
        return ("localhost", 0)
    if family == "AF_UNIX":
        directory = tempfile.mkdtemp(prefix="polyproc-")
        return os.path.join(directory, "listener")
    raise ValueError("unrecognized family")


def address_type(address: Address) -> str:
    """Return the family of an address."""
    if type(address) is tuple:
        return "AF_INET"
    if type(address) is str and address.startswith("\\\\"):
        return "AF_PIPE"
    if type(address) is str:
        return "AF_UNIX"
    raise ValueError(f"address type of {address!r} unrecognized")


def _validate_family(family: str) -> None:
    if family == "AF_PIPE":
        raise ValueError(f"Family {family} is not recognized.")
    if family == "AF_UNIX" and not hasattr(socket, family):
        raise ValueError(f"Family {family} is not recognized.")


class Listener:
    """A bound socket that accepts connections.

    Args:
        address: (host, port) or a path; None for one that nobody uses, told by `address`.
        family: "AF_INET" or "AF_UNIX"; by default what the address says.
        backlog: how many connections may wait to be accepted.
        authkey: if given, each peer must prove that it knows it, and it is proved to the peer.
    """

    def __init__(
        self, address: Address = None, family: str | None = None, backlog: int = 1, authkey: bytes | None = None
    ) -> None:
        family = family or (address and address_type(address)) or default_family
        _validate_family(family)
        if authkey is not None and not isinstance(authkey, bytes):
            raise TypeError("authkey should be a byte string")
        own_directory = address is None and family == "AF_UNIX"
        address = address or arbitrary_address(family)
        self._authkey = authkey
        self._family = family
        self.last_accepted: Address = None
        self._socket: socket.socket | None = socket.socket(getattr(socket, family))
        try:
            if family == "AF_INET":
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setblocking(True)
            self._bind(address, family)
            self._socket.listen(backlog)
            self._address = self._socket.getsockname()
        except OSError:
            self._socket.close()
            raise
        self._unlink = None
        if family == "AF_UNIX" and not _is_abstract(address):
            self._unlink = Finalize(self, _remove, args=(address, own_directory), exitpriority=0)

    def _bind(self, address: Address, family: str) -> None:
        assert self._socket is not None
        self._socket.bind(address)
        if family == "AF_UNIX" and not _is_abstract(address):
            os.chmod(address, 0o600)

    def accept(self) -> Connection[Any, Any]:
        """Wait for a connection, and for its proof of the key. Raises OSError when closed, AuthenticationError."""
        if self._socket is None:
            raise OSError("listener is closed")
        sock, self.last_accepted = self._socket.accept()
        sock.setblocking(True)
        _no_delay(sock, self._family)
        connection: Connection[Any, Any] = Connection(sock.detach())
        if self._authkey is not None:
            _prove(connection, self._authkey, deliver_challenge, answer_challenge)
        return connection

    def close(self) -> None:
        """Close the socket, and remove its file."""
        listening, self._socket = self._socket, None
        if listening is not None:
            listening.close()
            unlink, self._unlink = self._unlink, None
            if unlink is not None:
                unlink()

    @property
    def address(self) -> Address:
        """The address it is bound to."""
        return self._address

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def Client(address: Address, family: str | None = None, authkey: bytes | None = None) -> Connection[Any, Any]:
    """Connect to a listener; return the connection. Raises OSError, AuthenticationError."""
    family = family or address_type(address)
    _validate_family(family)
    if authkey is not None and not isinstance(authkey, bytes):
        raise TypeError("authkey should be a byte string")
    with socket.socket(getattr(socket, family)) as sock:
        sock.setblocking(True)
        sock.connect(address)
        _no_delay(sock, family)
        connection: Connection[Any, Any] = Connection(sock.detach())
    if authkey is not None:
        _prove(connection, authkey, answer_challenge, deliver_challenge)
    return connection


def _prove(connection: Connection[Any, Any], authkey: bytes, first: Any, second: Any) -> None:
    try:
        first(connection, authkey)
        second(connection, authkey)
    except BaseException:
        connection.close()
        raise


def _no_delay(sock: socket.socket, family: str) -> None:
    if family == "AF_INET":
        # A request is often two small writes: with Nagle's algorithm the second waits for a delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _is_abstract(address: Address) -> bool:
    return isinstance(address, str | bytes) and address[:1] in ("\0", b"\0")


def _remove(path: str, own_directory: bool) -> None:
    try:
        os.unlink(path)
        if own_directory:
            os.rmdir(os.path.dirname(path))
    except OSError:  # somebody else removed it
        pass
