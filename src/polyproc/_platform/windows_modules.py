"""On Windows, which modules stand in for those of POSIX systems: loaded there by `polyproc/__init__.py`, nowhere else.

A descriptor is a HANDLE there: of a file without a name, a pipe, a socket, a process, an event. What takes one is in
few modules. Some are other modules there, as `ntpath` is `os.path`; of some only a few names are others. All the rest
is the same everywhere.
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import PathFinder

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

STAND_INS = {
    "polyproc._memory.portable_segment": "polyproc._memory.windows_segment",
    "polyproc._memory.tracker": "polyproc._memory.windows_tracker",
}

# Modules that are the same there but for some names, which another puts in their places.
OVERRIDES = {
    "polyproc._base.modules": "polyproc._platform.windows_kernel",
    "polyproc._aio.loops": "polyproc._aio.windows_loops",
    "polyproc._connection.portable_connection": "polyproc._connection.windows_connection",
    "polyproc._pickling.foreign": "polyproc._pickling.windows_foreign",
    "polyproc._pickling.reducers": "polyproc._pickling.windows_reducers",
    "polyproc._platform.handles": "polyproc._platform.windows_handles",
    "polyproc._platform.posix": "polyproc._platform.windows_files",
    "polyproc._platform.processes": "polyproc._platform.windows_processes",
    "polyproc._start.spawn": "polyproc._start.windows_spawn",
    "polyproc._synchronize.portable_locks": "polyproc._synchronize.windows_locks",
}


class StandIns:
    """Finds the modules of the table, under the names of those that they stand for."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return how to load a module of the table; None for any other."""
        if name in STAND_INS:
            return ModuleSpec(name, _Loader(STAND_INS[name]))  # type: ignore[arg-type]
        if name not in OVERRIDES:
            return None
        spec = PathFinder.find_spec(name, path)  # type: ignore[arg-type]
        if spec is not None:
            spec.loader = _Overriding(spec.loader, OVERRIDES[name])  # type: ignore[assignment]
        return spec


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


class _Overriding:
    def __init__(self, loader: Any, overrides: str) -> None:
        self._loader = loader
        self._overrides = overrides

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        __import__(self._overrides)
        own = vars(sys.modules[self._overrides])
        vars(module).update({name: value for name, value in own.items() if not name.startswith("__")})


sys.meta_path.insert(0, StandIns())
