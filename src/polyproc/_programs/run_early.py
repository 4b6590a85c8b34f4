"""The program of an interpreter whose job is not known yet. Started by `_start/early_interpreter.py`.

load what children of ours need -> wait for the size of the job -> the program that the job names
"""

from __future__ import annotations

import gc
import marshal
import posix
import sys

from polyproc._programs.siteless import stand_in

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any


def main(setup: dict[str, Any]) -> None:
    """Load what children need, wait for the job and do it; never returns."""
    if setup["site"] is not None:
        stand_in(setup["site"])
    collects = gc.isenabled()
    gc.disable()  # imports leave next to no garbage, and to look for it takes as long as to load five modules
    # With `-X lazy_imports=all` (PEP 810, 3.15) what is imported here would be imported in each child.
    lazy: Any = getattr(sys, "get_lazy_imports", None)
    mode = None if lazy is None else lazy()
    if mode == "all":
        sys.set_lazy_imports("normal")  # type: ignore[attr-defined]
    for name in setup["modules"]:
        __import__(name)
    if mode == "all":
        sys.set_lazy_imports(mode)  # type: ignore[attr-defined]
    gc.freeze()
    if collects:
        gc.enable()
    place = posix.read(setup["socket"], 40)
    if not place:
        posix._exit(0)  # the client is gone, or has no use for it
    size, start = map(int, place.split())
    job = marshal.loads(posix.pread(setup["file"], size, start))
    posix.close(setup["file"])
    sys.path[:] = job["sys_path"]
    sys.modules[setup["entry"]].main(job)
