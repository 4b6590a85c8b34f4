"""Do what `site` does, for a program that was started without it (`_platform/interpreter.py` says when).

The names that it adds to `builtins` are made when first used. Lines of .pth files that import run at once, as they may
do anything; but for setuptools' own, which stands in most environments: it matters to programs that import distutils.
"""

from __future__ import annotations

import _frozen_importlib
import builtins
import sys
from _frozen_importlib_external import ExtensionFileLoader

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any

_NAMES = ("exit", "quit", "copyright", "credits", "license", "help")
_CONCERNED = frozenset(("distutils", "_distutils_hack", "setuptools", "pip", "test"))


class OfSite:
    """Stands for a name that `site` would have put into `builtins`; becomes it when it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _real(self) -> Any:
        __import__("site")
        return getattr(builtins, self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __repr__(self) -> str:
        return repr(self._real())


class SetuptoolsLater:
    """Runs setuptools' .pth line at the first import that it is about."""

    def __init__(self, folder: str, line: str) -> None:
        self.folder = folder
        self.line = line

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find nothing; but once the line has run, what there is to find then."""
        if name.partition(".")[0] not in _CONCERNED:
            return None
        sys.meta_path.remove(self)
        run_line(self.folder, self.line)
        return _frozen_importlib._find_spec(name, path, target)  # type: ignore[attr-defined]


def stand_in(plan: dict[str, Any]) -> None:
    """Do what `site` would have done."""
    sys.prefix, sys.exec_prefix = plan["prefixes"]
    loader = ExtensionFileLoader("polyproc._core", plan["core"])
    spec = _frozen_importlib.ModuleSpec(loader.name, loader, origin=plan["core"])
    spec.has_location = True
    core = _frozen_importlib._load(spec)  # type: ignore[attr-defined]
    core.set_flag(plan["flag"], 0)  # -S was our way, not the user's: what this process starts goes through site again
    for name in _NAMES:
        setattr(builtins, name, OfSite(name))
    for folder, file, lines in plan["pth_files"]:
        for line in lines:
            if line.startswith(plan["setuptools"]):
                sys.meta_path.insert(0, SetuptoolsLater(folder, line))
                continue
            try:
                run_line(folder, line)
            except Exception as error:  # noqa: BLE001  (as site does: told; until 3.15 the rest of the file is left out)
                goes_on = sys.version_info >= (3, 15)
                rest = "" if goes_on else "Remainder of file ignored\n"
                sys.stderr.write(f"Error processing {folder}/{file}: {line!r}: {error!r}\n{rest}")
                if not goes_on:
                    break


def run_line(sitedir: str, line: str) -> None:
    """Run a line of a .pth file in a frame that has `sitedir`: lines of namespace packages look for it there."""
    exec(line)
