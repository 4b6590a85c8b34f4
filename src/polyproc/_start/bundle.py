"""What a started program imports of ours, as code objects, read once in the parent and passed to each."""

from __future__ import annotations

import marshal
import os
from importlib.util import find_spec
from types import CodeType

from polyproc._platform.posix import OwnFile, file_with
from polyproc._typing import Any

# In a child before user code, each behind what it imports; a test compares this with what a child really loads.
CHILD = (
    "polyproc",
    "polyproc._sent",
    "polyproc._kernel",
    "polyproc._lazy",
    "polyproc._public",
    "polyproc._log",
    "polyproc._platform",
    "polyproc._platform.posix",
    "polyproc._cleanup",
    "polyproc._cleanup.exit_sequence",
    "polyproc._process",
    "polyproc._process.box",
    "polyproc._process.state",
    "polyproc._process.last_acts",
    "polyproc._process.output",
    "polyproc._process.bootstrap",
    "polyproc._process.process",
    "polyproc._process.kinds",
    "polyproc._process.main_module",
    "polyproc._process.payload",
    "polyproc._process.record_names",
    "polyproc._process.preparation",
    "polyproc._programs",
    "polyproc._programs.run_spawned",
)
BOOT = "polyproc._programs.boot"
SITELESS = "polyproc._programs.siteless"

# name -> (file, folder if it is a package, marshalled code)
SentModules = dict[str, tuple[str, str | None, bytes]]


class BundleFile(OwnFile):
    """An anonymous file with the code. Children read it by pread(2): they share its position."""

    __slots__ = ("size",)

    def __init__(self, data: bytes) -> None:
        super().__init__(file_with("polyproc-bundle", data))
        self.size = len(data)


class Bundle:
    """The code that goes with every job, in a file made once. One instance, `bundle`."""

    def __init__(self) -> None:
        self.contents: dict[str, Any] = {}
        self._file: BundleFile | None = None

    def prepare(self) -> dict[str, Any]:
        """Read the code, unless that was done; return it."""
        if not self.contents:
            self.contents = {
                "boot": marshal.dumps(_code(BOOT)[1]),
                "siteless": marshal.dumps(_code(SITELESS)[1]),
                "sent": {name: entry for name in CHILD if (entry := _read(name)) is not None},
            }
        return self.contents

    def open(self) -> BundleFile:
        """Return the file. Of two threads that make one at once, each has one for as long as it uses it."""
        file = self._file
        if file is None or not file.is_there():
            file = self._file = BundleFile(marshal.dumps(self.prepare()))
        return file


def _code(name: str) -> tuple[Any, CodeType | None]:
    spec = find_spec(name)
    loader: Any = spec.loader if spec is not None else None
    return spec, loader.get_code(name) if hasattr(loader, "get_code") else None


def _read(name: str) -> tuple[str, str | None, bytes] | None:
    """Return what is sent for a module; None for one that a child must find by itself (built in, frozen)."""
    spec, code = _code(name)
    if code is None or not spec.has_location:
        return None
    package = os.path.dirname(spec.origin) if spec.submodule_search_locations is not None else None
    return spec.origin, package, marshal.dumps(code)


bundle = Bundle()
