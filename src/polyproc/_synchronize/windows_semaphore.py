"""The counter of tokens on Windows: a semaphore of the system, by its handle."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import time
from _multiprocessing import SemLock

from polyproc._base.typing import Any
from polyproc._pickling.live_fd import live_fd
from polyproc._platform.handles import due

_SEMAPHORE, _MOST = 1, 0x7FFFFFFF
_LONGEST = 1_000_000.0  # seconds of one wait


class SemaphoreCounter:
    """A number that processes lower, waiting while it is zero, and raise."""

    def __init__(self, value: int, handle: int | None = None) -> None:
        if handle is None:
            self._semaphore: Any = SemLock(_SEMAPHORE, value, _MOST, "", False)
        else:
            self._semaphore = SemLock._rebuild(handle, _SEMAPHORE, _MOST, "")

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Lower the number by one; wait up to `timeout` seconds (None: without limit) while it is zero."""
        if not block or timeout is None:
            return bool(self._semaphore.acquire(block))
        deadline = due(timeout)
        while True:
            left = deadline - time.monotonic()
            if self._semaphore.acquire(True, min(max(left, 0.0), _LONGEST)):
                return True
            if left <= _LONGEST:
                return False

    def release(self) -> None:
        """Raise the number by one."""
        self._semaphore.release()

    def value(self) -> int:
        """Return the number as it is at this moment."""
        return int(self._semaphore._get_value())

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_semaphore, (live_fd(self._semaphore.handle),)


def _rebuild_semaphore(sent: Any) -> SemaphoreCounter:
    return SemaphoreCounter(0, sent.detach())
