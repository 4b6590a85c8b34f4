"""What the interpreter's `site` module does at start, read once, so that a child can be started without it.

`site` costs a tenth of a bare interpreter's start, and what its .pth files import costs more. A child gets sys.path
from its parent anyway, so what is left to do there is little: `_programs/siteless.py` does it. Where this process's own
site did more than that (sitecustomize, usercustomize), or without the C core, children go through `site` as ever.
"""

from __future__ import annotations

import os
import sys

from polyproc._native import native
from polyproc._platform.interpreter import interpreter, starter
from polyproc._typing import Any

# (folder, file, its lines that import) of a .pth file
PthFile = tuple[str, str, list[str]]


class SitePlan:
    """What a child started with -S is told. One instance, `site_plan`."""

    def __init__(self) -> None:
        self._folders: list[str] | None = None
        self._stamp: object = None
        self._pth_files: list[PthFile] | None = None

    def describe(self) -> dict[str, Any] | None:
        """Return what `siteless.stand_in` needs; None if a child must go through `site`."""
        if native.core is None or sys.flags.no_site or getattr(sys, "frozen", False) or not _is_own_executable():
            return None
        if starter.is_replaced():  # it may run another program before ours, which needs its packages
            return None
        site = sys.modules.get("site")
        if site is None or "sitecustomize" in sys.modules or "usercustomize" in sys.modules:
            return None
        pth_files = self._read(site)
        if pth_files is None:
            return None
        return {
            "prefixes": (sys.prefix, sys.exec_prefix),
            "core": native.core.__file__,
            "flag": sys.flags.__match_args__.index("no_site"),
            "pth_files": pth_files,
        }

    def _read(self, site: Any) -> list[PthFile] | None:
        if self._folders is None:
            self._folders = site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
        stamp = [_modified(folder) for folder in self._folders]
        if stamp != self._stamp:
            self._pth_files = _importing_lines(self._folders)
            self._stamp = stamp
        return self._pth_files


def _is_own_executable() -> bool:
    executable = interpreter.executable
    return executable is not None and os.fsencode(executable) == os.fsencode(sys.executable)


def _modified(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _importing_lines(folders: list[str]) -> list[PthFile] | None:
    """Read all .pth files, in the order in which `site` does; None for what is not plain text, or 3.15 would call."""
    found: list[PthFile] = []
    for folder in folders:
        try:
            names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except OSError:
            continue
        if sys.version_info >= (3, 15) and any(name.endswith(".start") for name in names):  # PEP 829
            return None
        names = [name for name in names if name.endswith(".pth")]
        for name in names:
            try:
                with open(os.path.join(folder, name), encoding="utf-8-sig") as file:
                    lines = [line.rstrip() for line in file if line.startswith(("import ", "import\t"))]
            except (OSError, UnicodeDecodeError):
                return None
            if lines:
                found.append((folder, name, lines))
    return found


site_plan = SitePlan()
