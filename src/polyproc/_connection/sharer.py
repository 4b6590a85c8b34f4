"""Sharer: gives descriptors of this process to others that have received a ticket for them.

    sender                                               receiver
    share(fds) -> ticket, pickled in a message   --->    ticket.detach():
    thread: accept  <--- Unix socket, both prove the authkey --- connect, say the ticket's key
            send duplicates (SCM_RIGHTS, unix(7))  --->  they are its own; the sender has forgotten them

The thread and its socket are there from the first `share` on. A ticket that nobody uses keeps its duplicates open.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

from polyproc._cleanup.after_fork import register_after_fork
from polyproc._connection.address import Address
from polyproc._connection.listener import Client, Listener
from polyproc._log import log
from polyproc._platform.posix import close_quietly
from polyproc._process.process import current_process

_KEY = 16
_SECONDS = 5.0  # how long somebody who has proved the authkey may take to say what he wants
_GIVEN, _UNKNOWN = b"+", b"-"


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
            with Client(self.address, authkey=bytes(current_process().authkey)) as connection:
                connection.send_bytes(self.key)
                with socket.socket(fileno=os.dup(connection.fileno())) as sock:
                    answer, fds, _, _ = socket.recv_fds(sock, 1, self.count)
        except (OSError, EOFError) as error:
            raise RuntimeError(f"what process {self.pid} sent cannot be received: it has ended") from error
        if answer != _GIVEN or len(fds) != self.count:
            close_quietly(*fds)
            raise RuntimeError(f"what process {self.pid} sent cannot be received: it is not there any more")
        return fds


class Sharer:
    """The descriptors that were shared and not fetched yet, and who gives them. One instance, `sharer`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: dict[bytes, list[int]] = {}
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        register_after_fork(self, Sharer._reborn)

    def share(self, fds: Sequence[int]) -> Ticket:
        """Keep duplicates of descriptors for who gets the ticket."""
        key = os.urandom(_KEY)
        duplicates: list[int] = []
        try:
            for fd in fds:
                duplicates.append(os.dup(fd))
            with self._lock:
                if self._listener is None:
                    self._start()
                assert self._listener is not None  # it was started
                self._shared[key] = duplicates
                return Ticket(os.getpid(), self._listener.address, key, len(fds))
        except BaseException:
            close_quietly(*duplicates)
            raise

    def stop(self, timeout: float | None = None) -> None:
        """Give nothing more; wait up to `timeout` seconds for the thread to end."""
        with self._lock:
            listener, self._listener = self._listener, None
            thread, self._thread = self._thread, None
            shared, self._shared = self._shared, {}
        if listener is not None:
            listener.close()
        for fds in shared.values():
            close_quietly(*fds)
        if thread is not None:
            thread.join(timeout)

    def _start(self) -> None:
        self._listener = Listener(family="AF_UNIX", authkey=bytes(current_process().authkey))
        self._thread = threading.Thread(target=self._serve, args=(self._listener,), name="polyproc-sharer", daemon=True)
        self._thread.start()

    def _serve(self, listener: Listener) -> None:
        while True:
            try:
                with listener.accept() as connection:
                    self._give(connection)
            except Exception as error:  # noqa: BLE001  (a peer's fault must not end the service)
                if self._listener is not listener:
                    return
                log.info("a descriptor was not given: %s", error)

    def _give(self, connection: Any) -> None:
        if not connection.poll(_SECONDS):
            raise TimeoutError("it did not say what it wants")
        key = connection.recv_bytes(_KEY)
        with self._lock:
            fds = self._shared.pop(key, [])
        with socket.socket(fileno=os.dup(connection.fileno())) as sock:
            try:
                socket.send_fds(sock, [_GIVEN if fds else _UNKNOWN], fds)
            finally:
                close_quietly(*fds)

    def _reborn(self) -> None:
        """In a forked child: what was shared is the parent's to give."""
        self._lock = threading.Lock()
        self._thread = None
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for fds in self._shared.values():
            close_quietly(*fds)
        self._shared = {}


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
