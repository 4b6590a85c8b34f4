"""A wire: marshalled messages over a socket, plain or encrypted, between this process and an agent.

    size of the message, size of its payload: 4 bytes each | message, marshalled | payload

A payload is bytes that are sent from where they are, and received straight to where they are to be, if whoever hears
knows a place for them. A large thing is sent as many payloads, between which others get their turn.

Any thread sends; one receives. `post` never waits: what the kernel does not take is sent by the thread that hears.
Nothing blocks with a lock held that the other direction needs: with TLS both use the same state, so each call of it is
made alone and does not block. Whether a peer is there is said by its kernel, not by a program that would have to be
awake for it: keepalive for a silent wire; for a busy one, that nothing is acknowledged (tcp(7)). A peer that has no
room for more acknowledges that it has been asked: it may hold its GIL for as long as it likes. TCP_USER_TIMEOUT makes
no difference between the two, so a wire looks itself, where it can (TCP_INFO).
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import marshal
import socket
import ssl
import sys
import threading
import time

from polyproc._base.errors import AuthenticationError, TimeoutError
from polyproc._base.typing import Any, Callable
from polyproc._connection.auth import answer_challenge, deliver_challenge
from polyproc._connection.portable_connection import PortableConnection
from polyproc._connection.tls import TlsConnection
from polyproc._platform.handles import POLLIN, POLLOUT, WakePipe, due, new_poll, poll, ready
from polyproc._platform.posix import LINUX, close_quietly

Address = tuple[str, int]

_HEADER = 8
_HALF = 4
PAYLOAD = 1 << 19  # bytes of a large thing that are sent at once
_TOGETHER = 16000  # bytes that are copied behind each other: as many as a record of TLS takes
_NOTHING = memoryview(b"")
_PIECES = 64  # that are sent by one call
_MUCH = 1 << 23  # bytes after which what has come is looked at
_PIECE = 1 << 18
_DIALLING = 5.0  # seconds for an address to answer
PEER_TIMEOUT = 5.0  # seconds until a silent peer is given up
LOOK = 1.0  # seconds from one look to the next at what is acknowledged
# Of struct tcp_info: probes of a peer without room that were not answered; what is not acknowledged; milliseconds since
# the last acknowledgement.
_PROBES, _UNACKED, _LAST_ACK = 3, slice(24, 28), slice(56, 60)
_TELLS = LINUX and hasattr(socket, "TCP_INFO")


def notice_loss(sock: Any, seconds: float = PEER_TIMEOUT, when_busy: bool = True) -> None:
    """Make the kernel end a connection whose other host is silent for so long, also as data waits to be taken there."""
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
        self._socket: Any = sock
        self.fd = sock.fileno()
        self._sending = threading.RLock()  # a finalizer that posts may come in the middle of a call
        self._using = threading.RLock()  # of TLS's state
        self._is_encrypted = isinstance(sock, ssl.SSLSocket)
        self._unsent: collections.deque[memoryview] = collections.deque()
        self._wake = WakePipe()
        self._received = bytearray()
        self._message: tuple[Any, ...] | None = None  # whose payload is on its way, and what is missing of that
        self._missing = _NOTHING
        self._is_closed = False
        self.is_broken = False  # what it raises now is of the wire, and of nothing else

    def send(self, *message: Any, payload: Any = b"", patience: float | None = None) -> None:
        """Send a message of built-in types, and wait until it has gone.

        Raises OSError when the peer is gone, TimeoutError if it takes nothing for `patience` seconds.
        """
        self.post(*message, payload=payload)
        until = due(patience) if patience is not None else None
        while self._unsent:
            if ready([self.fd], LOOK, POLLOUT):
                self.flush()
                until = due(patience) if patience is not None else None
            else:
                self.check()
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(f"its agent has read nothing for {patience:g} s")

    def post(self, *message: Any, payload: Any = b"") -> None:
        """Send a message, now or, what the kernel does not take now, later. Raises OSError when the peer is gone."""
        size = memoryview(payload).nbytes
        data = marshal.dumps(message)
        data = b"".join((len(data).to_bytes(_HALF, "big"), size.to_bytes(_HALF, "big"), data))
        pieces = [data, payload] if size > _TOGETHER else [data + bytes(payload)]
        with self._sending:
            is_free = not self._unsent
            self._unsent += [memoryview(piece).cast("B") for piece in pieces]
            if is_free:
                self._write()
            if self._unsent:
                self._wake.wake()

    def flush(self) -> None:
        """Send what the kernel takes now of what was posted."""
        with self._sending:
            self._write()

    def _write(self) -> None:
        unsent = self._unsent
        while unsent:
            try:
                with self._using:
                    self._check_open()
                    if self._is_encrypted or len(unsent) == 1:
                        sent = self._socket.send(unsent[0])
                    else:
                        sent = self._socket.sendmsg([*itertools.islice(unsent, _PIECES)])
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            except OSError:
                self.is_broken = True
                raise
            while sent:
                if sent < len(unsent[0]):
                    unsent[0] = unsent[0][sent:]
                    break
                sent -= len(unsent.popleft())

    def receive(self, hear: Callable[..., object]) -> None:
        """Call `hear` with each message that is there, and with its payload last, if it has one.

        That is where `place` has put it, or a bytearray. Raises EOFError at the end, OSError when the peer is lost.
        """
        much = 0
        while much < _MUCH or self._has_decrypted():
            try:
                with self._using:
                    self._check_open()
                    count = self._read()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except ssl.SSLEOFError:
                count = 0
            except OSError:
                self.is_broken = True
                raise
            if not count:
                raise EOFError
            much += count
            while (message := self._next()) is not None:
                hear(*message)

    def _has_decrypted(self) -> bool:
        """Whether something was taken from the kernel that is not received: nobody can wait for it."""
        return self._is_encrypted and self._socket.pending() > 0

    def _read(self) -> int:
        if self._missing:
            count: int = self._socket.recv_into(self._missing)
            self._missing = self._missing[count:] or _NOTHING
            return count
        piece = self._socket.recv(_PIECE)
        self._received += piece
        return len(piece)

    def _next(self) -> tuple[Any, ...] | None:
        try:
            return self._whole()
        except BaseException:  # nonsense, or there is no memory for it: what comes next cannot be found
            self.is_broken = True
            raise

    def _whole(self) -> tuple[Any, ...] | None:
        """Return the next message, if it is there, and its payload."""
        if self._message is None:
            self._begin_message()
        if self._missing:
            return None
        message, self._message = self._message, None
        return message

    def _begin_message(self) -> None:
        """Take the next message, if it is there, and what is there of its payload."""
        received = self._received
        end = _HEADER + int.from_bytes(received[:_HALF], "big")
        if len(received) < max(end, _HEADER + 1):
            return
        size = int.from_bytes(received[_HALF:_HEADER], "big")
        with memoryview(received) as view, view[_HEADER:end] as data:
            message = marshal.loads(data)
        there = min(size, len(received) - end)
        if size:
            place = self.place(message, size)
            if place is None:
                place = memoryview(bytearray(size))
            place[:there] = received[end : end + there]
            self._missing = place[there:] or _NOTHING  # and no view of memory that others want to give back
            message += (place,)
        del received[: end + there]
        self._message = message

    @staticmethod
    def place(message: tuple[Any, ...], size: int) -> memoryview | None:
        """Return where the payload of a message that comes is to be put; None for anywhere."""
        return None

    def wait(self) -> None:
        """Wait until something has come, and send what was posted meanwhile. Raises OSError when the peer is lost."""
        while True:
            poller = new_poll()
            poller.register(self.fd, POLLIN | POLLOUT if self._unsent else POLLIN)
            poller.register(self._wake.fd, POLLIN)
            found = dict(poll(poller, LOOK))
            if self._wake.fd in found:
                self._wake.drain()
            events = found.get(self.fd, 0)
            if events & POLLOUT:
                self.flush()
            if events & ~POLLOUT:
                return
            self.check()

    def check(self) -> None:
        """Look whether the peer's host is there; for a wait for this wire among others, every LOOK seconds."""
        if self._acknowledgements is not None:
            try:
                self._acknowledgements.check()
            except OSError:
                self.is_broken = True
                raise

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
        self._wake.close()

    def abandon(self) -> None:
        """In a forked child: close the descriptor; the connection is its parent's, and goes on."""
        self._is_closed = True
        close_quietly(self._socket.detach())
        self._wake.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionAbortedError("the connection was closed")
