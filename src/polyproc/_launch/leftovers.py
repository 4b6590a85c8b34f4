"""What dead families have left: removed by the user's next program, when it starts its first process.

Families end by themselves; this is for those that were killed as a whole. See _memory/tracker.py: a program that makes
named segments has a tracker, which does the same.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

_PROGRAM = "polyproc._entry.tracker_main"


def remove(folder: str) -> list[str]:
    """Remove them; return the names of the segments."""
    spec: Any = find_spec(_PROGRAM)
    scope: dict[str, Any] = {"__name__": _PROGRAM}
    exec(spec.loader.get_code(_PROGRAM), scope)
    try:
        removed: list[str] = scope["sweep"](folder)
    except OSError:  # no descriptors left: another time
        removed = []
    return removed
