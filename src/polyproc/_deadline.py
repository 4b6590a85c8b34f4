"""When a wait ends: a time on the monotonic clock, of the seconds that a caller gave."""

from __future__ import annotations

from time import monotonic

from polyproc._lazy import said


def due(timeout: float) -> float:
    """Return the time at which a wait of `timeout` seconds ends. Raises TypeError for what is no number."""
    try:
        return monotonic() + timeout
    except TypeError:
        raise said("not_seconds", timeout) from None
