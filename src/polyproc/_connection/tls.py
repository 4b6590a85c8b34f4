"""A connection that is encrypted: the same messages over a TLS socket of the module `ssl`."""

from __future__ import annotations

import ssl

from polyproc._base.native import native
from polyproc._base.typing import Any
from polyproc._connection.portable_connection import PortableConnection
from polyproc._platform.handles import may_switch

if native:
    from polyproc._core import await_soon

_TOGETHER = 16000  # bytes that are sent with the header before them: as many as a record takes


class TlsConnection(PortableConnection):
    """`Connection` over TLS. It cannot be sent to another process: its keys are in this one.

    `poll` knows of what was decrypted already and not received yet; `wait` does not.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock.fileno())
        self._socket = sock
        self._learnt = bytearray(12)  # how long to look for what comes before one sleeps

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether something can be received, waiting up to `timeout` seconds; None waits without limit."""
        self._to_read()
        return self._socket.pending() > 0 or super().poll(timeout)

    def _read_into(self, handle: int, view: memoryview) -> int:
        if native and not self._socket.pending() and not may_switch():
            await_soon(handle, self._learnt)
        return self._socket.recv_into(view)

    def _write(self, handle: int, header: bytes, data: bytes | memoryview) -> int:
        if len(data) <= _TOGETHER:  # one record, one packet
            record = header + bytes(data)
            count = self._socket.send(record)
            if count < len(record):
                self._socket.sendall(record[count:])
        else:
            self._socket.sendall(header)
            self._socket.sendall(data)
        return len(header) + len(data)

    def _shut(self, handle: int) -> None:
        self._socket.close()

    def __reduce__(self) -> Any:
        raise TypeError("an encrypted connection cannot be sent to another process")
