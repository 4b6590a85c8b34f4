"""On Windows, which modules stand in for those of POSIX systems: loaded there by `polyproc/__init__.py`, nowhere else.

A descriptor is a HANDLE there: of a file without a name, a pipe, a socket, a process, an event. What takes one is in
`_kernel`, `posix` and `handles`, and those are other modules there, as `ntpath` is `os.path`. Each has the names of
the one that it stands for, as far as they are used there; all other modules are the same everywhere.
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

STAND_INS = {
    "polyproc._base.kernel": "polyproc._platform.windows_kernel",
    "polyproc._platform.posix": "polyproc._platform.windows_files",
    "polyproc._platform.handles": "polyproc._platform.windows_handles",
    "polyproc._platform.memory": "polyproc._platform.windows_memory",
    "polyproc._memory.portable_segment": "polyproc._memory.windows_segment",
    "polyproc._memory.tracker": "polyproc._memory.windows_tracker",
    "polyproc._start.spawn": "polyproc._start.windows_spawn",
}


class StandIns:
    """Finds the modules of the table, under the names of those that they stand for."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return how to load a module of the table; None for any other."""
        stand_in = STAND_INS.get(name)
        return None if stand_in is None else ModuleSpec(name, _Loader(stand_in))  # type: ignore[arg-type]


class _Loader:
    def __init__(self, stand_in: str) -> None:
        self._stand_in = stand_in
        self._spec: Any = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        __import__(self._stand_in)
        module = sys.modules[self._stand_in]
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # of the file that it is


sys.meta_path.insert(0, StandIns())
