"""A wire: marshalled messages over a socket, plain or encrypted, between this process and an agent.

Any thread sends; one receives. Nothing blocks with a lock held that the other direction needs: with TLS both use the
same state, so each call of it is made alone and does not block. Whether a peer is there is said by its kernel, not by a
program that would have to be awake for it: keepalive for a silent wire; for a busy one, that nothing is acknowledged
(tcp(7)). A peer that has no room for more acknowledges that it has been asked: it may hold its GIL for as long as it
likes. TCP_USER_TIMEOUT makes no difference between the two, so a wire looks itself, where it can (TCP_INFO).
"""

from __future__ import annotations

import hashlib
import marshal
import select
import socket
import ssl
import sys
import threading
import time

from polyproc._base.errors import AuthenticationError
from polyproc._base.typing import Any
from polyproc._connection.auth import answer_challenge, deliver_challenge
from polyproc._connection.portable_connection import PortableConnection
from polyproc._connection.tls import TlsConnection
from polyproc._platform.handles import ready
from polyproc._platform.posix import LINUX, close_quietly

Address = tuple[str, int]

_HEADER = 8
_PIECE = 1 << 18
_DIALLING = 5.0  # seconds for an address to answer
PEER_TIMEOUT = 5.0  # seconds until a silent peer is given up
LOOK = 1.0  # seconds from one look to the next at what is acknowledged
# Of struct tcp_info: probes of a peer without room that were not answered; what is not acknowledged; milliseconds since
# the last acknowledgement.
_PROBES, _UNACKED, _LAST_ACK = 3, slice(24, 28), slice(56, 60)
_TELLS = LINUX and hasattr(socket, "TCP_INFO")


def notice_loss(sock: Any, seconds: float = PEER_TIMEOUT, when_busy: bool = True) -> None:
    """Have the kernel end a connection whose other host says nothing for so many seconds, also when that is owed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probes = 4
    pause = max(1, round(seconds / (probes + 1)))
    options = {"TCP_KEEPIDLE": pause, "TCP_KEEPINTVL": pause, "TCP_KEEPCNT": probes}
    options["TCP_USER_TIMEOUT"] = round(seconds * 1000) if when_busy else 0
    for name, value in options.items():
        if hasattr(socket, name):  # each is some systems' only
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def dial(addresses: list[Address], fingerprint: str | None) -> socket.socket:
    """Connect to the first address that answers; encrypted, if there is a fingerprint. Raises OSError."""
    failures = []
    for address in addresses:
        try:
            sock = socket.create_connection(address, _DIALLING)
        except OSError as error:
            failures.append(f"{address[0]}:{address[1]}: {error}")
            continue
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock if fingerprint is None else encrypted(sock, fingerprint)
        except BaseException:
            sock.close()
            raise
    raise ConnectionError("nobody answers at " + "; ".join(failures))


def encrypted(sock: socket.socket, fingerprint: str) -> ssl.SSLSocket:
    """Encrypt a connection, by TLS 1.3, to the owner of a certificate. Raises AuthenticationError for any other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # it is known by the certificate itself
    context.verify_mode = ssl.CERT_NONE
    found = context.wrap_socket(sock)
    if hashlib.sha256(found.getpeercert(True) or b"").hexdigest() != fingerprint:
        found.close()
        raise AuthenticationError("the peer has another certificate than that of this run")
    return found


def prove(sock: socket.socket, key: bytes) -> None:
    """Prove to a listener that this process knows a key, and have it do the same. Raises AuthenticationError."""
    sock.settimeout(None)  # the listener has its limit, and the kernel one for its host
    connection: Any = TlsConnection(sock) if isinstance(sock, ssl.SSLSocket) else PortableConnection(sock.fileno())
    try:
        answer_challenge(connection, key)
        deliver_challenge(connection, key)
    finally:
        connection._handle = None  # the socket stays


class Acknowledgements:
    """Whether the other host acknowledges what it is sent, as the kernel knows."""

    def __init__(self, sock: Any, seconds: float) -> None:
        self._socket = sock
        self._seconds = seconds
        self._owed_since: float | None = None

    def check(self) -> None:
        """Look; raise ConnectionAbortedError if something has been owed for too long, and nothing came meanwhile."""
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_ACK.stop)
        owed = info[_PROBES] or any(info[_UNACKED])
        now = time.monotonic()
        heard = now - int.from_bytes(info[_LAST_ACK], sys.byteorder) / 1000
        if not owed:
            self._owed_since = None
        elif self._owed_since is None or heard > self._owed_since:
            self._owed_since = now
        elif now - self._owed_since > self._seconds:
            raise ConnectionAbortedError(f"its host has acknowledged nothing for {self._seconds:g} s")


class Wire:
    """One connection, after both sides have proved that they know the key."""

    def __init__(self, sock: socket.socket, timeout: float = PEER_TIMEOUT) -> None:
        notice_loss(sock, timeout, when_busy=False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._acknowledgements = Acknowledgements(sock, timeout) if _TELLS else None
        self._socket = sock
        self.fd = sock.fileno()
        self._sending = threading.Lock()
        self._using = threading.RLock()  # of TLS's state
        self._received = bytearray()
        self._is_closed = False

    def send(self, *message: Any) -> None:
        """Send a message of built-in types. Raises OSError when the peer is gone."""
        data = marshal.dumps(message)
        view = memoryview(len(data).to_bytes(_HEADER, "big") + data)
        with self._sending:
            while view:
                try:
                    with self._using:
                        self._check_open()
                        sent = self._socket.send(view)
                except (BlockingIOError, ssl.SSLWantWriteError):
                    self._await(select.POLLOUT)
                except ssl.SSLWantReadError:
                    self._await(select.POLLIN)
                else:
                    view = view[sent:]

    def receive(self) -> list[tuple[Any, ...]]:
        """Return the messages that are there. Raises EOFError at the end, OSError when the peer is lost."""
        found: list[tuple[Any, ...]] = []
        while True:
            try:
                with self._using:
                    self._check_open()
                    piece = self._socket.recv(_PIECE)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return found
            except ssl.SSLEOFError:
                piece = b""
            if not piece:
                if found:
                    return found  # the end is told by the next call
                raise EOFError
            self._received += piece
            self._take_whole(found)

    def _take_whole(self, found: list[tuple[Any, ...]]) -> None:
        received, at = self._received, 0
        while len(received) - at >= _HEADER:
            end = at + _HEADER + int.from_bytes(received[at : at + _HEADER], "big")
            if len(received) < end:
                break
            with memoryview(received) as view:
                found.append(marshal.loads(view[at + _HEADER : end]))
            at = end
        del received[:at]

    def wait(self) -> None:
        """Wait until something has come. Raises OSError when the peer is lost."""
        self._await(select.POLLIN)

    def _await(self, event: int) -> None:
        while not ready([self.fd], LOOK, event):
            self.check()

    def check(self) -> None:
        """Look whether the peer's host is there; for who waits for this wire among others, every LOOK seconds."""
        if self._acknowledgements is not None:
            self._acknowledgements.check()

    def shut(self) -> None:
        """End the connection: whoever waits for it, here and there, hears of the end."""
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:  # it has ended
            pass

    def close(self) -> None:
        """Give the descriptor back; nobody may wait for it any more."""
        with self._using:
            self._is_closed = True
            self._socket.close()

    def abandon(self) -> None:
        """In a forked child: close the descriptor; the connection is its parent's, and goes on."""
        self._is_closed = True
        close_quietly(self._socket.detach())

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionAbortedError("the connection was closed")
