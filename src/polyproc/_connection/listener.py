"""Listener and Client: meet by address, over TCP or a Unix socket."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from types import TracebackType
from typing import TYPE_CHECKING, Any

from polyproc._cleanup.finalizers import Finalize
from polyproc._connection.admission import Admission
from polyproc._connection.auth import answer_challenge, deliver_challenge
from polyproc._connection.connection import Connection
from polyproc._lazy import load

if TYPE_CHECKING:
    from ssl import SSLContext

Address = Any  # (host, port) or a path

_BACKLOG = 128

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
    if _is_abstract(address):
        return "AF_UNIX"  # bytes, as the kernel names it
    kind = ValueError if isinstance(address, bytes) else TypeError
    raise kind(f"address type of {address!r} unrecognized")


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
        backlog: how many connections may wait to be accepted, at least; 128 may in any case.
        authkey: if given, each peer must prove that it knows it, and it is proved to the peer.
        ssl: a context of the module `ssl` for servers; connections are then encrypted.

    Peers that do not come to the point hinder nobody: see _connection/admission.py. A Unix socket can be used by its
    owner alone, and a peer's user is looked at (SO_PEERCRED, unix(7)).

    Attributes:
        last_accepted: the address of the peer that was accepted last, None before.
    """

    last_accepted: Address = None

    def __init__(
        self,
        address: Address = None,
        family: str | None = None,
        backlog: int = 1,
        authkey: bytes | None = None,
        *,
        ssl: SSLContext | None = None,
    ) -> None:
        family = family or (address and address_type(address)) or default_family
        _validate_family(family)
        if authkey is not None and not isinstance(authkey, bytes):
            raise TypeError("authkey should be a byte string")
        own_directory = address is None and family == "AF_UNIX"
        address = address or arbitrary_address(family)
        self._family = family
        self._tls = ssl
        listening = socket.socket(getattr(socket, family))
        try:
            if family == "AF_INET":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(listening, address, family)
            listening.listen(max(backlog, _BACKLOG))
            self._address = listening.getsockname()
        except OSError:
            listening.close()
            raise
        admits = _is_same_user if family == "AF_UNIX" else _is_anybody
        self._admission: Admission | None = Admission(listening, authkey, ssl, admits)
        self._unlink = None
        if family == "AF_UNIX" and not _is_abstract(address):
            self._unlink = Finalize(self, _remove, args=(address, own_directory), exitpriority=0)

    def accept(self, timeout: float | None = None) -> Connection[Any, Any]:
        """Wait for a connection, and for its proof of the key.

        Raises:
            OSError: the listener is closed.
            AuthenticationError: a peer has another key.
            TimeoutError: nobody came within `timeout` seconds.
        """
        if self._admission is None:
            raise OSError("listener is closed")
        sock, self.last_accepted = self._admission.accept(timeout)
        return _connection_of(sock, self._family)

    def close(self) -> None:
        """Close the socket, and remove its file."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.close()
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


def Client(
    address: Address,
    family: str | None = None,
    authkey: bytes | None = None,
    *,
    ssl: SSLContext | None = None,
) -> Connection[Any, Any]:
    """Connect to a listener; return the connection.

    Args:
        address: (host, port) or a path.
        family: "AF_INET" or "AF_UNIX"; by default what the address says.
        authkey: what both sides must prove to know.
        ssl: a context of the module `ssl` for clients; the host's name is checked as it says.

    Raises:
        OSError: nobody listens there, or the peer went away.
        AuthenticationError: the peer has another key.
    """
    family = family or address_type(address)
    _validate_family(family)
    if authkey is not None and not isinstance(authkey, bytes):
        raise TypeError("authkey should be a byte string")
    sock = socket.socket(getattr(socket, family))
    try:
        sock.setblocking(True)
        sock.connect(address)
        if ssl is not None:
            sock = ssl.wrap_socket(sock, server_hostname=address[0] if family == "AF_INET" else None)
        connection = _connection_of(sock, family)
    except BaseException:
        sock.close()
        raise
    if authkey is not None:
        try:
            answer_challenge(connection, authkey)
            deliver_challenge(connection, authkey)
        except BaseException:
            connection.close()
            raise
    return connection


def _connection_of(sock: socket.socket, family: str) -> Connection[Any, Any]:
    _no_delay(sock, family)
    if hasattr(sock, "do_handshake"):
        return load("polyproc._connection.tls", "TlsConnection")(sock)  # type: ignore[operator, no-any-return]
    return Connection(sock.detach())


def _bind(listening: socket.socket, address: Address, family: str) -> None:
    if family != "AF_UNIX" or _is_abstract(address):
        listening.bind(address)
        return
    # The file must not be anybody else's for an instant; fchmod(2) of the socket before bind(2) says what it will be.
    os.fchmod(listening.fileno(), 0o600)
    listening.bind(address)
    os.chmod(address, 0o600)


def _is_same_user(sock: socket.socket) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return uid in (os.geteuid(), 0)


def _is_anybody(sock: socket.socket) -> bool:
    return True


def _no_delay(sock: socket.socket, family: str) -> None:
    if family == "AF_INET":
        # A request is often two small writes: with Nagle's algorithm the second waits for a delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _is_abstract(address: Address) -> bool:
    return isinstance(address, str | bytes) and address[:1] == ("\0" if isinstance(address, str) else b"\0")


def _remove(path: str, own_directory: bool) -> None:
    try:
        os.unlink(path)
        if own_directory:
            os.rmdir(os.path.dirname(path))
    except OSError:  # somebody else removed it
        pass
