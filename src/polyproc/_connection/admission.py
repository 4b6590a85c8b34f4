"""Admission: the handshakes of many peers at once, by one thread that waits for all of them.

    accept()  ->  [ peer: tls? -> challenge -> answer -> done ]  x 64 at most, each within 5 s  ->  connection

A peer that says nothing, or too much, or nonsense costs its place for some seconds and at most a message of 256 bytes;
it keeps nobody waiting. When all places are taken, the one that has been there longest goes. No pickle is loaded.
"""

from __future__ import annotations

import collections
import math
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

from polyproc._connection.auth import LIMIT, Steps, answer_steps, deliver_steps
from polyproc._errors import AuthenticationError, TimeoutError
from polyproc._lazy import loaded
from polyproc._log import log

if TYPE_CHECKING:
    from ssl import SSLContext

SECONDS = 5.0
PLACES = 64
_TICK = 1.0  # how soon it is seen that the listener was closed
_HEADER = struct.Struct("!i")


class _Peer:
    """One handshake: what it waits for, and what has come of the next message."""

    def __init__(self, sock: socket.socket, address: Any, steps: Steps | None, until: float) -> None:
        self.sock = sock
        self.address = address
        self.until = until
        self.events = select.POLLIN
        self._steps = steps
        self._waits_for_message = False
        self._begun = False
        self._received = b""
        self._unsent = b""

    def advance(self) -> bool:
        """Do what can be done now; say whether the handshake is through. Raises what the peer did wrong."""
        try:
            if not self._begun and hasattr(self.sock, "do_handshake"):
                self.sock.do_handshake()
            self._begun = True
            return self._steps is None or self._converse(self._steps)
        except OSError as error:
            self.events = _waits_for(error, select.POLLOUT if self._unsent else select.POLLIN)
            return False

    def _converse(self, steps: Steps) -> bool:
        try:
            while True:
                while self._unsent:
                    self._unsent = self._unsent[self.sock.send(self._unsent) :]
                wanted = steps.send(self._message()) if self._waits_for_message else next(steps)
                self._waits_for_message = wanted is None
                if wanted is not None:
                    self._unsent = _HEADER.pack(len(wanted)) + wanted
        except StopIteration:
            return True

    def _message(self) -> bytes:
        """Return the next message, when all of it is there; not a byte more is read."""
        self._fill(_HEADER.size)
        [length] = _HEADER.unpack(self._received[: _HEADER.size])
        if not 0 <= length <= LIMIT:
            raise ConnectionAbortedError(f"announced a message of {length} bytes")
        self._fill(_HEADER.size + length)
        message, self._received = self._received[_HEADER.size :], b""
        return message

    def _fill(self, length: int) -> None:
        while len(self._received) < length:
            piece = self.sock.recv(length - len(self._received))
            if not piece:
                raise ConnectionAbortedError("it went away")
            self._received += piece


def _nudge(listening: socket.socket) -> None:
    """Wake who waits for a listening socket: closing it does not."""
    with socket.socket(listening.family) as sock:
        sock.setblocking(False)
        try:
            sock.connect(listening.getsockname())
        except OSError:  # in progress; or it cannot, and the tick will do
            pass


def _waits_for(error: OSError, otherwise: int) -> int:
    """Return what to poll for after an operation that would block. Raises any other error."""
    if isinstance(error, BlockingIOError):
        return otherwise
    ssl: Any = loaded("ssl")  # there if anything is encrypted
    if ssl is not None and isinstance(error, ssl.SSLWantReadError):
        return select.POLLIN
    if ssl is not None and isinstance(error, ssl.SSLWantWriteError):
        return select.POLLOUT
    raise error


def _both_ways(authkey: bytes) -> Steps:
    yield from deliver_steps(authkey)
    yield from answer_steps(authkey)


class Admission:
    """Accepts for a listening socket, which is made not to block.

    Args:
        listening: the socket.
        authkey: what peers must prove to know; None to let in everybody.
        tls: a context of the server's side; None for plain connections.
        admits: says of a socket whether its peer may come in at all.
    """

    def __init__(self, listening: socket.socket, authkey: bytes | None, tls: SSLContext | None, admits: Any) -> None:
        listening.setblocking(False)
        self._listening: socket.socket | None = listening
        self._authkey = authkey
        self._tls = tls
        self._admits = admits
        self._peers: dict[int, _Peer] = {}
        self._through: collections.deque[_Peer] = collections.deque()
        self._lock = threading.Lock()  # of several threads that accept, one waits for all peers, the others for it

    def accept(self, timeout: float | None) -> tuple[socket.socket, Any]:
        """Wait for the next peer that is through; return its socket, which blocks, and its address.

        Raises:
            AuthenticationError: a peer has another key.
            TimeoutError: nobody came within `timeout` seconds.
            OSError: the listener was closed, or the system refuses more connections.
        """
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not self._lock.acquire(timeout=min(max(until - time.monotonic(), 0.0), _TICK)):
            if time.monotonic() >= until:
                raise TimeoutError("nobody connected in time")
        try:
            while not self._through:
                self._turn(until)
            peer = self._through.popleft()
        finally:
            self._lock.release()
        peer.sock.setblocking(True)
        return peer.sock, peer.address

    def close(self) -> None:
        """Close everything; who accepts in another thread gets OSError."""
        listening, self._listening = self._listening, None
        if listening is not None:
            if self._lock.locked():
                _nudge(listening)
            listening.close()
        for peer in (*self._peers.values(), *self._through):
            peer.sock.close()
        self._peers.clear()
        self._through.clear()

    def _turn(self, until: float) -> None:
        """Wait until something can be done, do it, and drop who took too long."""
        listening = self._listening
        if listening is None:
            raise OSError("listener is closed")
        poller = select.poll()
        door = listening.fileno()
        poller.register(door, select.POLLIN)
        for fd, peer in self._peers.items():
            poller.register(fd, peer.events)
        now = time.monotonic()
        limit = min([until, now + _TICK, *(peer.until for peer in self._peers.values())])
        ready = [fd for fd, _ in poller.poll(math.ceil(max(limit - now, 0.0) * 1000))]
        if self._listening is None:
            raise OSError("listener is closed")
        if door in ready:
            self._let_in(listening)
        for fd in ready:
            if fd in self._peers:
                self._advance(self._peers[fd])
        now = time.monotonic()
        for peer in [peer for peer in self._peers.values() if peer.until <= now]:
            self._drop(peer, "it took too long")
        if not self._through and now >= until:
            raise TimeoutError("nobody connected in time")

    def _let_in(self, listening: socket.socket) -> None:
        try:
            sock, address = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it has gone again
            return
        if not self._admits(sock):
            log.info("a peer of another user was refused")
            sock.close()
            return
        sock.setblocking(False)
        if len(self._peers) == PLACES:
            self._drop(next(iter(self._peers.values())), "others came")
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            log.info("a peer was dropped: %s", error)
            sock.close()
            return
        steps = None if self._authkey is None else _both_ways(self._authkey)
        peer = _Peer(sock, address, steps, time.monotonic() + SECONDS)
        self._peers[sock.fileno()] = peer
        self._advance(peer)

    def _advance(self, peer: _Peer) -> None:
        try:
            if peer.advance():
                del self._peers[peer.sock.fileno()]
                self._through.append(peer)
        except AuthenticationError:
            self._drop(peer, "it has another key")
            raise
        except OSError as error:
            self._drop(peer, str(error))

    def _drop(self, peer: _Peer, why: str) -> None:
        log.info("a peer was dropped: %s", why)
        del self._peers[peer.sock.fileno()]
        peer.sock.close()
