"""Handshake: what a peer that has come says before it is let in, step by step, by whoever waits for many of them.

An exception in the middle, whatever it is and whoever raised it, is its end: it is not gone on with, and only the good
end of the conversation (auth.py) counts as success.
"""

from __future__ import annotations

import _socket
import select
import struct

from polyproc._connection.auth import LIMIT, PROVED, Proof, Steps, answer_steps, deliver_steps
from polyproc._lazy import loaded
from polyproc._typing import Any

_HEADER = struct.Struct("!i")


class Handshake:
    """One handshake: what it waits for, and what has come of the next message."""

    def __init__(self, sock: _socket.socket, address: Any, until: float) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.address = address
        self.until = until
        self.events = self.polled = select.POLLIN  # what it waits for, and what it is polled for
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
            self.events = _waits_for(error, select.POLLOUT if self._unsent else select.POLLIN)
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
        return select.POLLIN
    if ssl is not None and isinstance(error, ssl.SSLWantWriteError):
        return select.POLLOUT
    raise error
