"""What is another for event loops on Windows: none there waits for a handle, so it is looked at, ever more rarely."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

from polyproc._aio.loops import Ticks
from polyproc._platform.handles import ready


async def readable(fd: int, timeout: float | None = None) -> bool:
    """Wait until a handle is readable, up to `timeout` seconds; return whether it is. Several tasks may wait."""
    ticks = Ticks(timeout)
    while not ready([fd], 0.0):
        if ticks.is_over():
            return False
        await ticks.next()
    return True
