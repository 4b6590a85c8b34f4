"""`multiprocessing` means polyproc: in this process and in all its children, whatever they import.

A finder at the head of the import system gives each `multiprocessing[.x]` the module object of `polyproc[.x]`. A forked
child inherits it; others are told so before they import anything of the program (`preparation.py`); interpreters
that are started by other means, as `subprocess` and loky do, learn of it from PYTHONPATH
(`_programs/foreign/sitecustomize.py`).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

from polyproc._base.modules import load, shown
from polyproc._base.process_state import process_state
from polyproc._base.typing import Sequence

_NAME = "multiprocessing"
_FOREIGN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_programs", "foreign")


class Redirect:
    """Finds `multiprocessing[.x]`, and loads it as `polyproc[.x]`. One instance, `redirect`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for what is redirected, None for all else."""
        return ModuleSpec(name, self) if name.partition(".")[0] == _NAME else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to the import system: the module is replaced when it is executed."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of ours in place. Raises ModuleNotFoundError for one that we do not have."""
        name = module.__name__
        try:
            real = import_module("polyproc" + name[len(_NAME) :])
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name) from error
        sys.modules[name] = real
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, real)


redirect = Redirect()


def install() -> None:
    """Make `import multiprocessing` give polyproc, in this process and in those that it starts.

    Also in Python programs that it starts by `subprocess` and the like, by PYTHONPATH of its environment; but not where
    an interpreter is told to ignore that (-E, -I, -S).

    To be called before other modules import multiprocessing: what they have bound already stays theirs. Those that are
    imported later, concurrent.futures among them, use polyproc. Calling it again does nothing.
    """
    if redirect in sys.meta_path:
        return
    sys.meta_path.insert(0, redirect)
    for name in [name for name in sys.modules if name.partition(".")[0] == _NAME]:
        del sys.modules[name]
    futures = sys.modules.get("concurrent.futures")
    if sys.modules.pop("concurrent.futures.process", None) is not None and futures is not None:
        vars(futures).pop("ProcessPoolExecutor", None)  # it is loaded anew when it is asked for
        vars(futures).pop("process", None)
        if not hasattr(futures, "__getattr__"):  # from 3.15 on it is a lazy import, which has been used
            futures.ProcessPoolExecutor = load("concurrent.futures.process", "ProcessPoolExecutor")  # type: ignore[attr-defined]
    process_state.drop_in = True
    shown.rename(_NAME)
    paths = os.environ.get("PYTHONPATH")
    if _FOREIGN not in (paths or "").split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join([_FOREIGN, paths]) if paths else _FOREIGN
