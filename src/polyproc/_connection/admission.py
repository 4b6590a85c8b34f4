"""Admission: the handshakes of many peers at once, by one thread that waits for all of them.

    accept()  ->  [ peer: tls? -> challenge -> answer -> request? -> done ]  each within 5 s  ->  connection

A peer that says nothing, or too much, or nonsense costs its place for some seconds and at most a message of 256 bytes;
it keeps nobody waiting. There are many places. When all are taken, the peer goes that has been there longest without
having answered the challenge, of the host that has the most; a peer that has answered rightly keeps its place. No
pickle is loaded. Whatever goes wrong with a peer, also an exception that has nothing to do with it, drops that peer.
"""

from __future__ import annotations

import _socket
import collections
import errno
import itertools
import math
import os
import socket
import struct
import threading
import time
from contextlib import closing
from itertools import starmap

from polyproc._base.errors import AuthenticationError, TimeoutError
from polyproc._base.modules import loaded
from polyproc._base.process_state import log
from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._connection.auth import LIMIT, PROVED, Proof, Steps, answer_steps, deliver_steps
from polyproc._connection.connection import own_socket
from polyproc._connection.sockets import Admitted, ListeningSocket
from polyproc._platform.handles import AT_ONCE, POLLIN, POLLOUT, due, most_descriptors, new_poll, poll
from polyproc._platform.posix import LongLived

if TYPE_CHECKING:
    from ssl import SSLContext


# Handshake: what a peer that has come says before it is let in, step by step, by whoever waits for many of them.
#
# An exception in the middle, whatever it is and whoever raised it, is its end: it is not gone on with, and only the
# good end of the conversation (auth.py) counts as success.

_HEADER = struct.Struct("!i")


class Handshake:
    """One handshake: what it waits for, and what has come of the next message."""

    def __init__(self, sock: _socket.socket, address: Any, until: float) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.address = address
        self.until = until
        self.events = self.polled = POLLIN  # what it waits for, and what it is polled for
        self.has_proved = False  # that it knows the key; what else is to be said may be missing
        self.request = b""
        self._steps: Steps | None = None
        self._waits_for_message = False
        self._has_begun = False
        self._is_advancing = False
        self._received = b""
        self._unsent = b""

    @property
    def source(self) -> Any:
        """Where it comes from: one host may not take the places of all."""
        return self.address[0] if isinstance(self.address, tuple) and self.address else ""

    def expect(self, authkey: bytes | None, has_request: bool) -> None:
        """Return what has to be said before it is through."""
        self._steps = self._conversation(authkey, has_request)

    def _conversation(self, authkey: bytes | None, has_request: bool) -> Steps:
        if authkey is not None:
            self.has_proved = _is_proof((yield from deliver_steps(authkey)))
            _is_proof((yield from answer_steps(authkey)))
        if has_request:
            self.request = yield None
        return PROVED

    def advance(self) -> bool:
        """Do what can be done now; return whether the handshake is through. Raises what the peer did wrong.

        One that an exception has left in the middle is not gone on with.
        """
        if self._is_advancing:
            raise ConnectionAbortedError("its handshake was interrupted")
        self._is_advancing = True
        try:
            shake = None if self._has_begun else getattr(self.sock, "do_handshake", None)  # of TLS
            if shake is not None:
                shake()
            self._has_begun = True
            is_through = self._converse()
        except OSError as error:
            self.events = _waits_for(error, POLLOUT if self._unsent else POLLIN)
            is_through = False
        self._is_advancing = False
        return is_through

    def _converse(self) -> bool:
        steps = self._steps
        assert steps is not None  # it was said what is expected
        try:
            while True:
                while self._unsent:
                    self._unsent = self._unsent[self.sock.send(self._unsent) :]
                wanted = steps.send(self._message()) if self._waits_for_message else next(steps)
                self._waits_for_message = wanted is None
                if wanted is not None:
                    self._unsent = _HEADER.pack(len(wanted)) + wanted
        except StopIteration as end:
            return _is_proof(end.value)

    def end(self) -> None:
        """End the handshake: the peer is let in, or dropped."""
        self._steps = None  # which refers to this object

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


def _is_proof(end: Proof | None) -> bool:
    """Return True for the good end of a handshake's side. Raises for any other: it was interrupted."""
    if end is not PROVED:
        raise ConnectionAbortedError("its handshake was interrupted")
    return True


def _waits_for(error: OSError, otherwise: int) -> int:
    """Return what to poll for after an operation that would block. Raises any other error."""
    if isinstance(error, BlockingIOError):
        return otherwise
    ssl: Any = loaded("ssl")  # there if anything is encrypted
    if ssl is not None and isinstance(error, ssl.SSLWantReadError):
        return POLLIN
    if ssl is not None and isinstance(error, ssl.SSLWantWriteError):
        return POLLOUT
    raise error


SECONDS = 5.0
MAX_PLACES = 1024
_MAX_ENCRYPTED = 128  # what TLS keeps of a peer is much more than a message
_LET_IN_AT_ONCE = 64  # how many are let in before those that are there are looked at
_TICK = 1.0  # how soon it is seen that the listener was closed

# Whose code runs in a handshake. What is raised anywhere else comes from a signal handler.
_HANDSHAKERS = frozenset(("polyproc", "ssl", "socket", "hmac", "hashlib"))
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class _Peers:
    """The peers in their handshakes, oldest first, and what is polled for them.

    An exception at whatever step leaves at most a descriptor that is polled for nobody.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._all: dict[int, Handshake] = {}
        self._unproved: dict[int, Handshake] = {}
        self._poller = new_poll()

    def wait(self, listening_fd: int, seconds: float) -> list[int]:
        """Wait for all peers and the listening socket, unless that is -1, for so many seconds; return what is ready."""
        if listening_fd >= 0:
            self._poller.register(listening_fd, POLLIN)
        ready = [fd for fd, _ in poll(self._poller, seconds)]
        if listening_fd >= 0:
            self._poller.unregister(listening_fd)
        for fd in ready:
            if fd != listening_fd and fd not in self._all:  # left by an exception
                self._poller.unregister(fd)
        return ready

    def get(self, fd: int) -> Handshake | None:
        """Return the peer of a descriptor."""
        return self._all.get(fd)

    def oldest(self) -> Handshake | None:
        """Return the peer that is here longest."""
        return next(iter(self._all.values()), None)

    def is_full(self) -> bool:
        """Return whether no more can come without another's going."""
        return len(self._unproved) >= self._places

    def is_crowd(self) -> bool:
        """Return whether more are here than come in good order."""
        return len(self._unproved) > _LET_IN_AT_ONCE

    def to_go(self) -> Handshake | None:
        """Return the peer that goes first: it has proved nothing, and its host has the most of those."""
        counts = collections.Counter(peer.source for peer in self._unproved.values())
        [(most, _)] = counts.most_common(1) or [(None, 0)]
        return next((peer for peer in self._unproved.values() if peer.source == most), None)

    def add(self, peer: Handshake) -> None:
        """Add one that has come."""
        self._poller.register(peer.fd, peer.polled)
        self._unproved[peer.fd] = self._all[peer.fd] = peer

    def update(self, peer: Handshake) -> None:
        """Note what a peer waits for now, and what it has proved."""
        if peer.has_proved:
            self._unproved.pop(peer.fd, None)
        if peer.events != peer.polled:
            peer.polled = peer.events
            self._poller.modify(peer.fd, peer.events)

    def remove(self, peer: Handshake) -> None:
        """Take one out. An exception may have left it here in part."""
        peer.end()
        if self._unproved.get(peer.fd) is peer:
            del self._unproved[peer.fd]
        if self._all.get(peer.fd) is peer:
            del self._all[peer.fd]
            self._poller.unregister(peer.fd)

    def put_off(self, seconds: float) -> None:
        """Give all peers so much more time."""
        for peer in self._all.values():
            peer.until += seconds

    def close(self) -> None:
        """Close them all."""
        for peer in list(self._all.values()):
            self.remove(peer)
            peer.sock.close()


class _Arrivals:
    """The connections that come to a listening socket.

    What was accepted belongs to somebody at every moment, also when an exception (a signal handler's) comes between two
    steps: the functions of itertools put it down before any code of Python runs again.
    """

    _arrival: tuple[list[tuple[int, Any]], list[_socket.socket]] = [], []

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self._accept = own_socket(listening)._accept
        self._kind = int(listening.family), int(listening.type), listening.proto
        self._arrival = [], []

    def has_one(self) -> bool:
        """Return whether one has been accepted and not been returned: an exception came."""
        return bool(self._arrival[0])

    def next(self) -> tuple[_socket.socket, Any]:
        """Return the next that has come, and its address. Raises OSError as accept(2)."""
        accepted, made = self._arrival
        if not accepted:
            accepted.extend(itertools.starmap(self._accept, [()]))
        [(fd, address)] = accepted
        if not made:
            made.extend(itertools.starmap(_socket.socket, [(*self._kind, fd)]))
        [sock] = made
        self._arrival = [], []
        return sock, address

    def close(self) -> None:
        """Close one that has been accepted and not been returned."""
        (accepted, made), self._arrival = self._arrival, ([], [])
        if accepted and not made:
            os.close(accepted[0][0])

    __del__ = close


class Admission:
    """Accepts for a listening socket.

    Args:
        listening: the socket.
        authkey: what peers must prove to know; None to let in everybody.
        tls: a context of the server's side; None for plain connections.
        admits: says of a socket whether its peer may come in at all.
        has_request: whether a peer says, in a message of 256 bytes at most, what it wants before it is through.
    """

    def __init__(
        self,
        listening: ListeningSocket,
        authkey: bytes | None,
        tls: SSLContext | None,
        admits: Any,
        has_request: bool = False,
    ) -> None:
        self._listening: ListeningSocket | None = listening
        self._door = LongLived(listening.number())
        self._arrivals = self._arrivals_at(listening)
        self._authkey = authkey
        self._tls = tls
        self._admits = admits
        self._has_request = has_request
        self._places = min(MAX_PLACES if tls is None else _MAX_ENCRYPTED, max(most_descriptors() // 2, 1))
        self._begin()

    def _arrivals_at(self, listening: ListeningSocket) -> _Arrivals:
        return _Arrivals(listening)

    def _wake(self, listening: ListeningSocket) -> None:
        """Wake the threads that wait for a listening socket: closing it does not."""
        with closing(_socket.socket(listening.family)) as sock:
            sock.setblocking(False)
            try:
                sock.connect(listening.getsockname())
            except OSError:  # in progress; or it cannot, and the tick will do
                pass

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._peers = _Peers(self._places)
        self._through: collections.deque[Handshake] = collections.deque()
        # Of several threads that accept, one waits for all peers, the others for it. It is asked whether it is owned:
        # a signal handler may raise at any moment.
        self._lock = threading.RLock()
        self._left_at = time.monotonic()

    def accept(self, timeout: float | None) -> Admitted:
        """Wait for the next peer that is through.

        Raises:
            AuthenticationError: a peer has another key.
            TimeoutError: nobody came within `timeout` seconds.
            OSError: the listener was closed, or the system refuses more connections.
        """
        if self._pid != os.getpid():
            self._after_fork_in_child()
        until = math.inf if timeout is None else due(timeout)
        lock = self._lock
        try:
            while not lock.acquire(timeout=min(max(until - time.monotonic(), 0.0), _TICK)):
                if time.monotonic() >= until:
                    raise TimeoutError("nobody connected in time")
            self._peers.put_off(max(time.monotonic() - self._left_at, 0.0))  # nobody was here to hear them
            while not self._through:
                self._turn(until)
            peer = self._through[0]
            peer.sock.setblocking(True)
            admitted = Admitted(peer.sock, peer.address, peer.request)
            self._through.popleft()
        finally:
            self._left_at = time.monotonic()
            while lock._is_owned():  # type: ignore[attr-defined]  # Condition's way to ask
                lock.release()
            if self._listening is None:
                self._clear()
        return admitted

    def close(self) -> None:
        """Close everything; `accept` in another thread raises OSError."""
        listening, self._listening = self._listening, None
        if listening is not None:
            if not self.is_there():
                listening.detach()
            elif self._pid == os.getpid() and not self._clear():
                self._wake(listening)  # `accept` clears it
            listening.close()

    def is_there(self) -> bool:
        """Return whether the listening socket is still there: a program may have closed all its descriptors."""
        return self._door.is_there()

    def _clear(self) -> bool:
        """Close all peers, unless another thread has to do with them; return whether that was done."""
        turn = [*starmap(self._lock.acquire, AT_ONCE)]
        try:
            if turn[0]:
                self._peers.close()
                for peer in self._through:
                    peer.sock.close()
                self._through.clear()
                self._arrivals.close()
        finally:
            if turn[0]:
                self._lock.release()
        return turn[0]

    def _after_fork_in_child(self) -> None:
        """In a forked child: the peers are the parent's."""
        peers, through = self._peers, self._through
        self._begin()
        peers.close()
        for peer in through:
            peer.sock.close()

    def _turn(self, until: float) -> None:
        """Wait until something can be done, do it, and drop the peers that took too long."""
        listening = self._listening
        listening_fd, now = -1 if listening is None else listening.number(), time.monotonic()
        if listening is None or listening_fd < 0 or not self.is_there():
            raise OSError("listener is closed")
        oldest = self._peers.oldest()
        limit = min(until, now + _TICK, math.inf if oldest is None else oldest.until)
        # A thread that waits for the socket itself sees no peer that has come in already: there is one at a time.
        is_one_by_one = listening.is_watched and oldest is not None
        ready = self._peers.wait(-1 if is_one_by_one else listening_fd, 0 if self._arrivals.has_one() else limit - now)
        if self._listening is None or not self.is_there():
            raise OSError("listener is closed")
        for fd in ready:
            peer = self._peers.get(fd)
            if peer is not None:
                self._advance(peer)
        if listening_fd in ready or self._arrivals.has_one():
            self._let_in()
        now = time.monotonic()
        while (oldest := self._peers.oldest()) is not None and oldest.until <= now:
            self._drop(oldest, "it took too long")
        if not self._through and now >= until:
            raise TimeoutError("nobody connected in time")

    def _let_in(self) -> None:
        for _ in range(_LET_IN_AT_ONCE if self._peers.is_crowd() else 1):
            accepted = self._next()
            if accepted is None:
                return
            self._receive(*accepted)
            if self._through:
                return

    def _next(self) -> tuple[_socket.socket, Any] | None:
        while True:
            try:
                return self._arrivals.next()
            except (BlockingIOError, ConnectionAbortedError):  # nobody; or it has gone again
                return None
            except OSError as error:
                peer = self._peers.to_go() if error.errno in _NO_ROOM else None
                if peer is None:
                    raise
                self._drop(peer, "there are no descriptors left")

    def _receive(self, sock: _socket.socket, address: Any) -> None:
        peer = Handshake(sock, address, time.monotonic() + SECONDS)
        try:
            if self._is_to_stay(peer):
                self._peers.add(peer)
                self._advance(peer)
            else:
                peer.sock.close()
        except BaseException:
            self._let_go(peer)
            raise

    def _is_to_stay(self, peer: Handshake) -> bool:
        if not self._admits(peer.sock):
            log.info("a peer of another user was refused")
            return False
        peer.sock.setblocking(False)
        if self._peers.is_full():
            self._drop(self._peers.to_go(), "others came")
        try:
            if self._tls is not None:
                plain: Any = peer.sock
                peer.sock = self._tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            if _is_a_handlers(error):
                raise
            log.info("a peer was dropped: %s", error)
            return False
        peer.expect(self._authkey, self._has_request)
        return True

    def _advance(self, peer: Handshake) -> None:
        """Go on with a handshake. An exception of whatever kind is the end of it."""
        try:
            is_through = peer.advance()
        except AuthenticationError:
            self._drop(peer, "it has another key")
            raise
        except BaseException as error:
            self._drop(peer, str(error))
            if not isinstance(error, Exception) or _is_a_handlers(error):
                raise  # nothing that a peer does may end `accept`; but this was no peer's doing
        else:
            try:
                if is_through:
                    self._peers.remove(peer)
                    self._through.append(peer)
                else:
                    self._peers.update(peer)
            except BaseException:
                self._let_go(peer)
                raise

    def _let_go(self, peer: Handshake) -> None:
        """Close a peer that an exception (a signal handler's) has left half-way: it would wait for ever."""
        if peer not in self._through:
            self._peers.remove(peer)
            peer.sock.close()

    def _drop(self, peer: Handshake | None, why: str) -> None:
        if peer is not None:
            self._peers.remove(peer)
            peer.sock.close()
            log.info("a peer was dropped: %s", why)


def _is_a_handlers(error: Exception) -> bool:
    """Return whether a signal handler of the program raised it, in the midst of what peers make us do."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return name.partition(".")[0] not in _HANDSHAKERS
