"""Listener and Client: meet by address, over TCP or a Unix socket; with pickles, or with XML-RPC."""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import socket
from types import TracebackType

from polyproc._base.errors import TimeoutError
from polyproc._base.modules import Later, public, said
from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._cleanup import Finalize
from polyproc._connection.admission import Admission
from polyproc._connection.auth import answer_challenge, deliver_challenge
from polyproc._connection.connection import Connection, connection_of
from polyproc._connection.sockets import (
    Address,
    Admitted,
    ListeningSocket,
    SocketListener,
    bind,
    connect,
    is_abstract,
    is_same_user,
    named,
    own_address,
    own_path,
)
from polyproc._platform.handles import Heard, HeldBack
from polyproc._platform.posix import IS_WINDOWS, OwnFile

if TYPE_CHECKING:
    from ssl import SSLContext

_BACKLOG = 128

default_family = "AF_UNIX" if hasattr(socket, "AF_UNIX") else "AF_INET"
families: list[str] = [
    "AF_INET",
    *(["AF_UNIX"] if hasattr(socket, "AF_UNIX") else []),
    *(["AF_PIPE"] if IS_WINDOWS else []),
]


def address_type(address: Address) -> str:
    """Return the family of an address."""
    if type(address) is tuple:
        return "AF_INET"
    if type(address) is str and address.startswith("\\\\"):
        return "AF_PIPE"
    if type(address) is str:
        return "AF_UNIX"
    if is_abstract(address):
        return "AF_UNIX"  # bytes, as the kernel names it
    kind = ValueError if isinstance(address, bytes) else TypeError
    text = f"address type of {address!r} unrecognized"
    raise kind(f"{text}: an address is (host, port), or a path as a str")


def _validate_family(family: str) -> None:
    if family == "AF_PIPE" and not IS_WINDOWS:
        raise ValueError(f"Family {family} is not recognized.")
    if family == "AF_UNIX" and not hasattr(socket, family):
        raise ValueError(f"Family {family} is not recognized.")


@public("connection")
class Listener:
    """A bound socket that accepts connections.

    Args:
        address: (host, port) or a path; None for one that nobody uses and that leaves no file, told by `address`.
        family: "AF_INET" or "AF_UNIX"; by default what the address says.
        backlog: how many connections may wait to be accepted, at least; 128 may in any case.
        authkey: if given, each peer must prove that it knows it, and it is proved to the peer.
        ssl: a context of the module `ssl` for servers; connections are then encrypted.

    Peers that do not come to the point hinder nobody: see _connection/admission.py. A Unix socket can be used by its
    owner alone: a peer's user is looked at.

    Attributes:
        last_accepted: the address of the peer that was accepted last, None before.
    """

    last_accepted: Address = None
    _has_request = False  # whether a peer says what it wants before it is let in

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
            raise TypeError(said("is_no_key", "authkey should be a byte string"))
        if type(backlog) is not int:
            backlog = said("whole", backlog, "backlog is how many connections may wait")
        self._family = family
        self._tls = ssl
        self._unlink: Finalize | None = None
        self._admission: Any
        if family == "AF_PIPE":
            from polyproc._connection.windows_pipes import PipeAdmission  # type: ignore[attr-defined]  # seen on Windows alone

            pipes: Any = PipeAdmission
            from polyproc._connection.windows_pipes import arbitrary_name  # type: ignore[attr-defined]  # seen on Windows alone

            self._address = address or arbitrary_name()
            self._admission = pipes(self._address, authkey, self._has_request)
            return
        with HeldBack():  # a socket's file is nobody's until it is known how to remove it
            self._listen(address, backlog, authkey)

    def _listen(self, asked: Address, backlog: int, authkey: bytes | None) -> None:
        family = self._family
        address, claim = (asked, None) if asked else own_address(family)
        self._listening = listening = ListeningSocket(getattr(socket, family))
        try:
            if family == "AF_INET":  # on Windows that would let others take the port, too
                option = "SO_EXCLUSIVEADDRUSE" if IS_WINDOWS else "SO_REUSEADDR"
                listening.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
            try:
                with Heard() if family == "AF_INET" else contextlib.nullcontext():  # a name may have to be asked for
                    self._address = named(bind, listening, address, family)
            except PermissionError:
                if asked is not None or not is_abstract(address):
                    raise
                address, claim = own_path()  # a sandbox without the abstract namespace
                self._address = bind(listening, address, family)
            listening.listen(max(backlog, _BACKLOG))
        except BaseException:
            listening.close()
            raise
        admits = is_same_user if family == "AF_UNIX" else _is_anybody
        self._admission = Admission(listening, authkey, self._tls, admits, self._has_request)
        if family == "AF_UNIX" and not is_abstract(address):
            self._unlink = Finalize(self, _remove, args=(address, claim), exitpriority=0)

    def accept(self, timeout: float | None = None) -> Connection[Any, Any]:
        """Wait for a connection, and for its proof of the key.

        Raises:
            OSError: the listener is closed.
            AuthenticationError: a peer has another key.
            TimeoutError: nobody came within `timeout` seconds.
        """
        return self._connection_of(self._admit(timeout))

    def _admit(self, timeout: float | None) -> Admitted:
        admission = self._admission
        if admission is None:
            raise OSError("listener is closed: close() was called in this process")
        limit = self._listening.limit if timeout is None and self._family != "AF_PIPE" else timeout
        try:
            admitted: Admitted = admission.accept(limit)
        except TimeoutError:
            if timeout is None and limit == 0:  # its socket was told not to block
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
            raise
        self.last_accepted = admitted.address
        return admitted

    @property
    def _listener(self) -> SocketListener | None:
        if self._admission is None or self._family == "AF_PIPE":
            return None
        return SocketListener(self, self._listening, self._family)

    def _connection_of(self, admitted: Admitted) -> Connection[Any, Any]:
        if self._family == "AF_PIPE":
            return Connection(admitted.sock.detach())
        return _connection_of(admitted.sock, self._family)

    def close(self) -> None:
        """Close the socket, and remove its file."""
        with HeldBack():
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
        raise TypeError(said("is_no_key", "authkey should be a byte string"))
    if family == "AF_PIPE":
        return _by_pipe(address, authkey)
    sock = socket.socket(getattr(socket, family))
    connection = None
    try:
        sock.setblocking(True)
        named(connect, sock, address, family, authkey is not None)
        if ssl is not None:
            sock = ssl.wrap_socket(sock, server_hostname=address[0] if family == "AF_INET" else None)
        connection = _connection_of(sock, family)
        if authkey is not None:
            answer_challenge(connection, authkey)
            deliver_challenge(connection, authkey)
    except BaseException:
        (connection or sock).close()
        raise
    return connection


def _by_pipe(address: str, authkey: bytes | None) -> Connection[Any, Any]:
    from polyproc._connection.windows_pipes import connect  # type: ignore[attr-defined]  # seen on Windows alone

    connection: Connection[Any, Any] = connect(address)
    try:
        if authkey is not None:
            answer_challenge(connection, authkey)
            deliver_challenge(connection, authkey)
    except BaseException:
        connection.close()
        raise
    return connection


def _connection_of(sock: _socket.socket, family: str) -> Connection[Any, Any]:
    _no_delay(sock, family)
    if hasattr(sock, "do_handshake"):
        from polyproc._connection.tls import TlsConnection

        encrypted: Any = TlsConnection(sock)  # type: ignore[arg-type]  # what does a handshake is ssl's
        return encrypted  # type: ignore[no-any-return]
    return connection_of(sock)


def _is_anybody(sock: _socket.socket) -> bool:
    return True


def _no_delay(sock: _socket.socket, family: str) -> None:
    if family == "AF_INET":
        # A request is often two small writes: with Nagle's algorithm the second waits for a delayed acknowledgement.
        with contextlib.suppress(OSError):  # BSD refuses it where the peer has gone: a read will see that
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _remove(path: str, claim: OwnFile | None) -> None:
    try:
        os.unlink(path)
        if claim is not None:  # it has a directory of its own
            os.rmdir(os.path.dirname(path))
    except OSError:  # somebody else removed it
        pass
    if claim is not None:
        claim.close()


# Connections whose messages are XML-RPC and not pickles: plain data only, and safe to open whoever sent it.

xmlrpc: Any = Later("xmlrpc.client")  # which loads http, email, ssl


class ConnectionWrapper:
    """A connection that sends and receives objects in another way."""

    def __init__(self, conn: Connection[Any, Any], dumps: Any, loads: Any) -> None:
        self._conn = conn
        self._dumps = dumps
        self._loads = loads
        for name in ("fileno", "close", "poll", "recv_bytes", "send_bytes"):
            setattr(self, name, getattr(conn, name))

    def send(self, obj: Any) -> None:
        """Send an object."""
        self._conn.send_bytes(self._dumps(obj))

    def recv(self) -> Any:
        """Receive an object."""
        return self._loads(self._conn.recv_bytes())


def _to_xml(obj: Any) -> bytes:
    text: str = xmlrpc.dumps((obj,), None, None, None, True)
    return text.encode("utf-8")


def _from_xml(data: bytes) -> Any:
    (obj,), _ = xmlrpc.loads(data.decode("utf-8"))
    return obj


class XmlListener(Listener):
    """A listener whose connections speak XML-RPC."""

    def accept(self, timeout: float | None = None) -> Any:
        """Wait for a connection: see `Listener`."""
        return ConnectionWrapper(super().accept(timeout), _to_xml, _from_xml)


def XmlClient(*args: Any, **kwds: Any) -> ConnectionWrapper:
    """Connect to a listener; return a connection that speaks XML-RPC."""
    return ConnectionWrapper(Client(*args, **kwds), _to_xml, _from_xml)
