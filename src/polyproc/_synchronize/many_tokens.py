"""The portable semaphore of more tokens than a pipe is sure to take, where there is no eventfd.

a number, in an anonymous file | a turn, for who changes it | a bell, that can be read while it is not zero
"""

from __future__ import annotations

import os
import time

from polyproc._pickling.live_fd import live_fd
from polyproc._platform.handles import due, ready
from polyproc._platform.posix import close_quietly, file_with
from polyproc._synchronize.token import TokenCounter
from polyproc._typing import Any

_SIZE = 8


class ManyTokens:
    """What TokenCounter is, for any number."""

    def __init__(self, value: int, parts: tuple[int, TokenCounter, TokenCounter] | None = None) -> None:
        self._fd = -1
        if parts is None:
            parts = file_with("polyproc-tokens", value.to_bytes(_SIZE, "little")), TokenCounter(1), TokenCounter(1)
        self._fd, self._turn, self._bell = parts

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Lower the number by one; wait up to `timeout` seconds (None: without limit) while it is zero."""
        deadline = None if timeout is None else due(timeout)
        while not self._change(-1):
            left = None if deadline is None else deadline - time.monotonic()
            if not block or (left is not None and left <= 0):
                return False
            ready([self._bell.fileno()], left)
        return True

    def release(self) -> None:
        """Raise the number by one."""
        self._change(1)

    def value(self) -> int:
        """Return the number as it is at this moment."""
        return int.from_bytes(os.pread(self._fd, _SIZE, 0), "little")

    def _change(self, by: int) -> bool:
        self._turn.acquire()
        try:
            before = self.value()
            after = before + by
            if after < 0:
                return False
            os.pwrite(self._fd, after.to_bytes(_SIZE, "little"), 0)
            if before == 0:
                self._bell.release()
            elif after == 0:
                self._bell.acquire(block=False)
            return True
        finally:
            self._turn.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (live_fd(self._fd), self._turn, self._bell)

    def __del__(self) -> None:
        close_quietly(self._fd)


def _rebuild(fd: Any, turn: TokenCounter, bell: TokenCounter) -> ManyTokens:
    return ManyTokens(0, (fd.detach(), turn, bell))
