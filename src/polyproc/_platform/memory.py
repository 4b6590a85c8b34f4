"""How much memory this process has."""

from __future__ import annotations

import os
import resource

_PAGE = os.sysconf("SC_PAGESIZE")


def resident_bytes(at_most: int = 0) -> int:
    """Return the resident size of this process, in bytes; where it never was above `at_most`, its peak."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if peak <= at_most:
        return peak
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:  # no /proc
        return peak
