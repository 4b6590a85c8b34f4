"""How much memory this process has."""

from __future__ import annotations

import os

from polyproc._base.modules import load
from polyproc._base.typing import Any
from polyproc._platform.posix import IS_MACOS, PROC


def resident_bytes() -> int:
    """Return the resident size of this process, in bytes; where nothing tells it, the largest that it had."""
    try:
        with open(f"{PROC}/self/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        from polyproc._platform.processes import resident_bytes

        by_ps: Any = resident_bytes
        usage: Any = load("resource", "getrusage")
        return int(by_ps(os.getpid())) or int(usage(0).ru_maxrss) * (1 if IS_MACOS else 1024)
