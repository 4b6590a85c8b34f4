"""How much memory this process has."""

from __future__ import annotations

import os

from polyproc._lazy import load
from polyproc._typing import Any

_PAGE = os.sysconf("SC_PAGESIZE")


def resident_bytes() -> int:
    """Return the resident size of this process, in bytes; where there is no /proc, the largest that it had."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        usage: Any = load("resource", "getrusage")
        return int(usage(0).ru_maxrss) * 1024
