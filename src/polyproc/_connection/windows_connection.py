"""What a portable connection is on Windows: what one end writes at once the other reads at once.

Pipes there carry whole messages: one that was not written in all, since its writer was killed, is not there, and one
is taken in all or not at all. So a queue outlives a process that is killed as it puts or gets.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

from polyproc._base.typing import Any
from polyproc._connection import portable_connection
from polyproc._platform import windows_kernel as kernel
from polyproc._platform.handles import ready

_HEADER = 4


class PortableConnection(portable_connection.PortableConnection):
    """What `Connection` says, without the C core."""

    def _recv_message(self, handle: int, maxlength: int | None) -> bytearray:
        data = self._read_at_once(handle)
        if data is not None:
            length = int.from_bytes(data[:_HEADER], "big", signed=True)
            if length == len(data) - _HEADER and (maxlength is None or length <= maxlength):
                return bytearray(memoryview(data)[_HEADER:])
            kernel.unread[handle] = data
        return super()._recv_message(handle, maxlength)

    def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Receive a message into a writable bytes-like object; return its length. Raises BufferTooShort."""
        data = self._read_at_once(self._to_read())
        if data is not None:
            kernel.unread[self._open()] = data
        return super().recv_bytes_into(buf, offset)

    def _read_at_once(self, handle: int) -> bytes | None:
        """Wait for what was written at once, and take it; None where it has come already, or comes in pieces."""
        while True:
            there = kernel.message_length(handle)
            if there is None:
                return None
            if there:
                return kernel.read(handle, there)
            ready([handle], None)
