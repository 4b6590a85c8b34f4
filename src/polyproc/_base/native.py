"""The choice between the C core and pure Python: made once, here, and told by `polyproc.native`."""

from __future__ import annotations

import os
import sys
from types import ModuleType

RECORD = os.path.join(
    os.path.dirname(os.path.dirname(__file__)), "_no_core.txt"
)  # why it could not be built: setup.py writes it
_FOREIGN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_programs", "foreign", "sitecustomize.py")
_HOW = (
    "To have it, install a C compiler and Python's headers (Debian: apt install gcc python3-dev), then:\n"
    "    {python} -m pip install --force-reinstall --no-deps --no-cache-dir polyproc   (or the folder it came from)\n"
    "To do without it, and not to be told: POLYPROC_NATIVE=off"
)


class Native:
    """Whether the C core is in use, and why; true or false as a condition.

    The environment variable POLYPROC_NATIVE chooses: "require" makes a missing core an ImportError, "off" goes
    without it, anything else takes it where it is there. POLYPROC_PLATFORM=posix goes without it, too.
    """

    def __init__(self, core: ModuleType | None, reason: str) -> None:
        self.core = core
        self.reason = reason

    def __bool__(self) -> bool:
        return self.core is not None

    def __repr__(self) -> str:
        return f"<polyproc.native: {'on' if self else 'off'}, {self.reason}>"


def choose(wish: str) -> Native:
    """Load the core as `wish` says; warn, once for a program, if it should be there and is not."""
    if wish == "off":
        return Native(None, "POLYPROC_NATIVE=off")
    if os.environ.get("POLYPROC_PLATFORM") == "posix":
        reason = "the C core needs Linux, and POLYPROC_PLATFORM=posix does without what Linux alone has"
        if wish == "require":
            raise ImportError(f"POLYPROC_NATIVE=require, but {reason}")
        return Native(None, reason)
    try:
        __import__("polyproc._core")
    except ImportError as error:
        why = _why_not_built()
        if why:
            reason = f"the C core could not be built when polyproc was installed: {why}"
        else:
            reason = f"the C core is not there ({error}); install polyproc again with a C compiler to have it"
        if wish == "require":
            raise ImportError(f"POLYPROC_NATIVE=require, but {reason}") from error
        is_wrong = why or not isinstance(error, ModuleNotFoundError)  # it is there, and cannot be loaded
        if is_wrong and not _wassaid():
            _warn(reason)
        return Native(None, reason)
    core = sys.modules["polyproc._core"]
    return Native(core, f"the C core, {core.__file__}")


def how_to_have_it() -> str:
    """Return what to do to have the core."""
    return _HOW.format(python=sys.executable or "python")


def _why_not_built() -> str:
    try:
        with open(RECORD, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def _wassaid() -> bool:
    """Return whether a process of ours started this one: then that has said it."""
    spec = sys.modules["polyproc"].__spec__
    site = sys.modules.get("sitecustomize")
    return (spec is not None and spec.loader_state == "sent") or getattr(site, "__file__", None) == _FOREIGN


def _warn(reason: str) -> None:
    import warnings

    without = "polyproc runs in pure Python: all is slower, and a lock whose owner was killed stays locked"
    warnings.warn(f"{without}. {reason[:1].upper()}{reason[1:]}\n{how_to_have_it()}", RuntimeWarning, stacklevel=3)


native: Native = choose(os.environ.get("POLYPROC_NATIVE", ""))
