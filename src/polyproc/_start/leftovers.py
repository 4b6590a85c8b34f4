"""What dead families have left: removed by the user's next program, when it starts its first process.

Families end by themselves; this is for those that were killed as a whole. See _memory/tracker.py: a program that makes
named segments has a tracker, which does the same.
"""

from __future__ import annotations

import os
from importlib.machinery import PathFinder

from polyproc._typing import Any

_PROGRAM = "polyproc._programs.run_tracker"
_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_programs")


def remove(folder: str) -> list[str]:
    """Remove them; return the names of the segments."""
    spec: Any = PathFinder.find_spec(_PROGRAM, [_FOLDER])  # without importlib.util, which workers would have, too
    scope: dict[str, Any] = {"__name__": _PROGRAM}
    exec(spec.loader.get_code(_PROGRAM), scope)
    try:
        removed: list[str] = scope["sweep"](folder)
    except OSError:  # no descriptors left: another time
        removed = []
    return removed
