"""Sharer: gives descriptors of this process to others that have received a ticket for them.

    sender                                               receiver
    share(fds) -> ticket, pickled in a message   --->    ticket.detach():
    thread: accept  <--- Unix socket, both prove the authkey --- connect, say the ticket's key
            send duplicates (SCM_RIGHTS, unix(7))  --->  they are its own; the sender has forgotten them

The thread and its socket are there from the first `share` on. It waits for all receivers at once, also for what they
want (admission.py). A ticket that nobody uses keeps its duplicates open.
"""

from __future__ import annotations

import _socket
import os
import socket
import threading
import weakref
from array import array
from contextlib import closing

from polyproc._base.errors import AuthenticationError
from polyproc._base.process_state import log
from polyproc._base.typing import Any, Sequence
from polyproc._cleanup import register_after_fork
from polyproc._connection.connection import Connection
from polyproc._connection.listener import Client, Listener
from polyproc._connection.sockets import Address
from polyproc._platform.handles import pause, ready
from polyproc._platform.posix import LINUX, LongLived, close_on_exec, close_quietly

_KEY = 16
_MOMENT = 1.0  # seconds within which a process that waits for an answer reads it
_TRIES = 100
_PAUSE = 0.01  # seconds after what may last: no descriptors, no memory
_GIVEN, _UNKNOWN = b"+", b"-"
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0) if LINUX else 0


class Ticket:
    """Stands for descriptors of another process; good for one `detach`."""

    def __init__(self, pid: int, address: Address, key: bytes, count: int) -> None:
        self.pid = pid
        self.address = address
        self.key = key
        self.count = count

    def detach(self) -> list[int]:
        """Fetch the descriptors; they are the caller's to close.

        Raises:
            RuntimeError: their sender has ended, or somebody has fetched them.
        """
        try:
            with _connect(self.address) as connection:
                connection.send_bytes(self.key)
                with closing(_socket_of(connection)) as sock:
                    answer, fds = _receive(sock, self.count)
        except (OSError, EOFError) as error:
            raise RuntimeError(f"what process {self.pid} sent cannot be received: it has ended") from error
        if answer != _GIVEN or len(fds) != self.count:
            close_quietly(*fds)
            raise RuntimeError(f"what process {self.pid} sent cannot be received: it is not there any more")
        return fds


def _connect(address: Address) -> Connection[Any, Any]:
    """Connect to a sharer. Where as many wait as its socket takes, BSD refuses the next one; Linux makes it wait."""
    for _ in range(1 if LINUX else _TRIES):
        try:
            return Client(address, authkey=_own_key())
        except ConnectionRefusedError as error:
            refused = error
            pause(_PAUSE)
    raise refused


def _own_key() -> bytes:
    from polyproc._process.process import current_process  # which stands above: it has ours

    return bytes(current_process().authkey)


def _socket_of(connection: Connection[Any, Any]) -> _socket.socket:
    """Return another socket for a connection's descriptor: one that nobody has replaced by a class of its own."""
    sock = _socket.socket(fileno=os.dup(connection.fileno()))
    sock.settimeout(None)  # whatever socket.setdefaulttimeout says
    return sock


def _receive(sock: _socket.socket, count: int) -> tuple[bytes, list[int]]:
    """Receive an answer and up to so many descriptors, close-on-exec."""
    fds = array("i")
    answer, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(count * fds.itemsize), _CLOSE_ON_EXEC)
    for level, kind, packed in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(packed[: len(packed) // fds.itemsize * fds.itemsize])
    if not _CLOSE_ON_EXEC:
        close_on_exec(*fds)
    return answer, list(fds)


class _TicketListener(Listener):
    """Where tickets are shown: a peer says its ticket's key before it is let in."""

    _has_request = True

    def next(self) -> tuple[Connection[Any, Any], bytes]:
        """Wait for the next receiver; return the connection, and the key."""
        admitted = self._admit(None)
        return self._connection_of(admitted), admitted.request

    def is_there(self) -> bool:
        """Return whether it can be reached: a program may have closed all its descriptors."""
        return self._admission is not None and self._admission.is_there()


class Sharer:
    """The descriptors that were shared and not fetched yet, and the thread that gives them. One instance, `sharer`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: dict[bytes, list[LongLived]] = {}
        self._lasting: set[bytes] = set()  # the keys of those that may be fetched more than once
        self._fetched: set[bytes] = set()  # which of these were, and may go with their owner
        self._owned: weakref.WeakKeyDictionary[Any, dict[int, Ticket]] = weakref.WeakKeyDictionary()
        self._listener: _TicketListener | None = None
        self._thread: threading.Thread | None = None
        register_after_fork(self, Sharer._after_fork_in_child)

    def share(self, fds: Sequence[int], lasts: bool = False) -> Ticket:
        """Keep duplicates of descriptors for the receiver of the ticket; if that `lasts`, until it is forgotten."""
        key = os.urandom(_KEY)
        duplicates: list[int] = []
        try:
            for fd in fds:
                duplicates.append(os.dup(fd))
            with self._lock:
                if self._listener is None or not self._listener.is_there():
                    self._start()
                assert self._listener is not None  # it was started
                self._shared[key] = [LongLived(fd) for fd in duplicates]
                if lasts:
                    self._lasting.add(key)
                return Ticket(os.getpid(), self._listener.address, key, len(fds))
        except BaseException:
            close_quietly(*duplicates)
            raise

    def ticket_of(self, owner: Any, fd: int) -> Ticket:
        """Return the ticket of an object's descriptor, good for as long as the object is there, and once at least."""
        known = self._owned.setdefault(owner, {})
        ticket = known.get(fd)
        if ticket is None or not self.has(ticket.key):
            ticket = known[fd] = self.share((fd,), lasts=True)
            weakref.finalize(owner, self._owner_is_gone, ticket.key).atexit = False
        return ticket

    def _owner_is_gone(self, key: bytes) -> None:
        self._lasting.discard(key)
        if key in self._fetched:
            self.forget(key)

    def has(self, key: bytes) -> bool:
        """Return whether what a ticket stands for was not fetched yet."""
        return key in self._shared

    def forget(self, key: bytes) -> None:
        """Give up what a ticket stands for: nobody will use it."""
        self._lasting.discard(key)
        self._fetched.discard(key)
        _close(self._shared.pop(key, []))

    def stop(self, timeout: float | None = None) -> None:
        """Give nothing more; wait up to `timeout` seconds for the thread to end."""
        with self._lock:
            listener, self._listener = self._listener, None
            thread, self._thread = self._thread, None
            shared, self._shared = self._shared, {}
        if listener is not None:
            listener.close()
        for fds in shared.values():
            _close(fds)
        if thread is not None:
            thread.join(timeout)

    def _start(self) -> None:
        listener = _TicketListener(family="AF_UNIX", authkey=_own_key())
        thread = threading.Thread(target=self._serve, args=(listener,), name="polyproc-sharer", daemon=True)
        self._listener, self._thread = listener, thread
        try:
            thread.start()
        except BaseException:  # nobody would serve
            self._listener = self._thread = None
            listener.close()
            raise

    def _serve(self, listener: _TicketListener) -> None:
        try:
            while self._listener is listener and listener.is_there():
                try:
                    self._give(*listener.next())
                except Exception as error:  # noqa: BLE001  (a peer's fault must not end the service)
                    if self._listener is listener:
                        log.info("a descriptor was not handed out: %s", error)
                        if not isinstance(error, AuthenticationError):
                            pause(_PAUSE)
        finally:
            self._end(listener)

    def _end(self, listener: _TicketListener) -> None:
        """Refuse peers that come now: they would wait for a thread that has ended."""
        shared: dict[bytes, list[LongLived]] = {}
        with self._lock:
            if self._listener is listener:
                self._listener = self._thread = None
                shared, self._shared = self._shared, {}
        listener.close()
        for fds in shared.values():
            _close(fds)

    def _give(self, connection: Connection[Any, Any], key: bytes) -> None:
        with self._lock:
            if key in self._lasting:
                self._fetched.add(key)
                kept = [LongLived(os.dup(one.fd)) for one in self._shared.get(key, []) if one.is_there()]
            else:
                kept = self._shared.pop(key, [])
        fds = [one.fd for one in kept] if all(one.is_there() for one in kept) else []
        try:
            with connection, closing(_socket_of(connection)) as sock:
                sock.setblocking(False)  # it has room for a byte, unless the receiver is up to something
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
                sock.sendmsg([_GIVEN if fds else _UNKNOWN], rights)
                if fds and not LINUX:
                    # BSD may throw away what is on its way when its sender closes: the receiver closes first.
                    ready([sock.fileno()], _MOMENT)
        finally:
            _close(kept)

    def _after_fork_in_child(self) -> None:
        """In a forked child: what was shared is the parent's to give."""
        self._lock = threading.Lock()
        self._thread = None
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for fds in self._shared.values():
            _close(fds)
        self._shared = {}
        self._lasting, self._fetched = set(), set()
        self._owned = weakref.WeakKeyDictionary()


def _close(kept: list[LongLived]) -> None:
    for one in kept:
        one.close()


sharer = Sharer()


class DupFd:
    """A descriptor to pickle for a process that runs already. As in the standard library."""

    def __init__(self, fd: int) -> None:
        self._ticket = sharer.share([fd])

    def detach(self) -> int:
        """Fetch it; it is the caller's to close."""
        return self._ticket.detach()[0]


class DupSocket:
    """A socket to pickle for a process that runs already. As in the standard library."""

    def __init__(self, sock: socket.socket) -> None:
        self._ticket = sharer.share([sock.fileno()])

    def detach(self) -> socket.socket:
        """Fetch it."""
        return socket.socket(fileno=self._ticket.detach()[0])


def stop(timeout: float | None = None) -> None:
    """Give nothing more; wait up to `timeout` seconds for the thread to end."""
    sharer.stop(timeout)
