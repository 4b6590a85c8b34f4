"""Listeners and clients by the name of a pipe (AF_PIPE).

What goes through a pipe is what goes through a socket of ours. The standard library's peers send whole messages in
place of that: both sides have to be ours. One peer proves that it has the key at a time, within some seconds.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import itertools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from polyproc._base.errors import AuthenticationError, TimeoutError
from polyproc._base.process_state import log
from polyproc._connection.auth import answer_challenge, deliver_challenge
from polyproc._connection.connection import Connection
from polyproc._connection.sockets import Admitted
from polyproc._platform.handles import WakePipe, ready
from polyproc._platform.posix import close_quietly

_SECONDS = 5.0  # for a handshake
_TICK = 1.0
_OVERLAPPED, _FIRST_INSTANCE = 0x40000000, 0x80000
_NO_REMOTE = 8  # PIPE_REJECT_REMOTE_CLIENTS
_SIZE = 65536
_MAX_REQUEST = 256
_BUSY = {121, 231}  # SEM_TIMEOUT, PIPE_BUSY
_count = itertools.count()


def arbitrary_name() -> str:
    """Return a name that nobody uses."""
    return rf"\\.\pipe\polyproc-{os.getpid()}-{next(_count)}-{os.urandom(16).hex()}"


class _Limited:
    """A connection whose messages have to come before some time."""

    def __init__(self, connection: Connection[Any, Any], until: float) -> None:
        self._connection = connection
        self._until = until
        self.send_bytes: Callable[[bytes], object] = connection.send_bytes

    def recv_bytes(self, maxlength: int) -> bytes:
        """Receive a message. Raises EOFError when none comes in time."""
        if not self._connection.poll(max(self._until - time.monotonic(), 0.0)):
            raise EOFError
        return self._connection.recv_bytes(maxlength)


class PipeAdmission:
    """Accepts for a name. What `Admission` is for a listening socket.

    Args:
        address: the name.
        authkey: what peers must prove to know; None to let in everybody.
        has_request: whether a peer says, in a short message, what it wants before it is through.
    """

    def __init__(self, address: str, authkey: bytes | None, has_request: bool) -> None:
        self._address = address
        self._authkey = authkey
        self._has_request = has_request
        self._lock = threading.Lock()
        self._wake = WakePipe()
        self._is_closed = False
        self._next = self._new_end(_FIRST_INSTANCE)
        self._connecting: Any = None

    def _new_end(self, more: int = 0) -> int:
        mode = _winapi.PIPE_ACCESS_DUPLEX | _OVERLAPPED | more
        most = _winapi.PIPE_UNLIMITED_INSTANCES
        return _winapi.CreateNamedPipe(self._address, mode, _NO_REMOTE, most, _SIZE, _SIZE, 0, _winapi.NULL)

    def accept(self, timeout: float | None) -> Admitted:
        """Wait for the next peer that is through. Raises AuthenticationError, TimeoutError, OSError."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            connection = self._accept_one(until)
            try:
                return Admitted(connection, self._address, self._shake_hands(connection))  # type: ignore[arg-type]
            except AuthenticationError:
                connection.close()
                raise
            except (EOFError, OSError) as error:
                log.info("a peer was dropped: %s", error)
                connection.close()

    def _accept_one(self, until: float | None) -> Connection[Any, Any]:
        with self._lock:
            while True:
                if self._is_closed:
                    raise OSError("listener is closed: close() was called in this process")
                if self._connecting is None:
                    self._connecting = _winapi.ConnectNamedPipe(self._next, overlapped=True)
                left = _TICK if until is None else min(until - time.monotonic(), _TICK)
                if self._connecting.event in ready([self._connecting.event, self._wake.fd], left):
                    break
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError("nobody connected in time")
            handle, self._next, self._connecting = self._next, self._new_end(), None
        return Connection(handle)

    def _shake_hands(self, connection: Connection[Any, Any]) -> bytes:
        limited: Any = _Limited(connection, time.monotonic() + _SECONDS)
        if self._authkey is not None:
            deliver_challenge(limited, self._authkey)
            answer_challenge(limited, self._authkey)
        return bytes(limited.recv_bytes(_MAX_REQUEST)) if self._has_request else b""

    def is_there(self) -> bool:
        """Return whether it is open."""
        return not self._is_closed

    def close(self) -> None:
        """Close everything; who accepts in another thread gets OSError."""
        if self._is_closed:
            return
        self._is_closed = True
        self._wake.wake()
        with self._lock:
            if self._connecting is not None:
                self._connecting.cancel()
            close_quietly(self._next)
            self._wake.close()


def connect(address: str) -> Connection[Any, Any]:
    """Connect to a listener of that name; wait while all its ends are taken."""
    access = _winapi.GENERIC_READ | _winapi.GENERIC_WRITE
    until = time.monotonic() + _SECONDS
    while True:
        try:
            handle = _winapi.CreateFile(
                address, access, 0, _winapi.NULL, _winapi.OPEN_EXISTING, _winapi.FILE_FLAG_OVERLAPPED, _winapi.NULL
            )
            return Connection(handle)
        except OSError as error:
            if error.winerror not in _BUSY or time.monotonic() >= until:
                raise
        try:
            _winapi.WaitNamedPipe(address, 1000)
        except OSError as error:
            if error.winerror not in _BUSY:
                raise
