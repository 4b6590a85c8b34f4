"""Which implementation runs: the C core or pure Python. Decided once, here, and told by `polyproc.native`."""

from __future__ import annotations

import os
import sys
from types import ModuleType


class Native:
    """Whether the C core is in use, and why; true or false as a condition.

    The environment variable POLYPROC_NATIVE chooses: "require" makes a missing core an ImportError, "off" goes
    without it, anything else takes it where it is there.
    """

    def __init__(self, core: ModuleType | None, reason: str) -> None:
        self.core = core
        self.reason = reason

    def __bool__(self) -> bool:
        return self.core is not None

    def __repr__(self) -> str:
        return f"<polyproc.native: {'on' if self else 'off'}, {self.reason}>"


def choose(wish: str) -> Native:
    """Load the core as `wish` says."""
    if wish == "off":
        return Native(None, "POLYPROC_NATIVE=off")
    try:
        __import__("polyproc._core")
    except ImportError as error:
        reason = f"the C core is not there ({error}); install polyproc again with a C compiler to have it"
        if wish == "require":
            raise ImportError(f"POLYPROC_NATIVE=require, but {reason}") from error
        return Native(None, reason)
    core = sys.modules["polyproc._core"]
    return Native(core, f"the C core, {core.__file__}")


native = choose(os.environ.get("POLYPROC_NATIVE", ""))
