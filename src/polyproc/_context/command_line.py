"""The command line: `python -m polyproc run [-m] PROGRAM ARGS`, `python -m polyproc doctor`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from types import CodeType, ModuleType

from polyproc._context.drop_in import install
from polyproc._lazy import load

_ABOUT = """Run a Python program in which `multiprocessing` means polyproc.

The program is not changed. It, whatever it imports, and the processes that it starts use polyproc where they ask for
multiprocessing; concurrent.futures, too."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m polyproc")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser(
        "run",
        help="run a program in which multiprocessing means polyproc",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("-m", dest="is_module", action="store_true", help="PROGRAM is the name of a module or package")
    run.add_argument("program", metavar="PROGRAM", help="a file, or with -m a module")
    run.add_argument("args", metavar="ARGS", nargs=argparse.REMAINDER, help="the program's own arguments")
    verbs.add_parser("doctor", help="say what works here, and what to do about what does not")
    chosen = parser.parse_args(arguments)
    if chosen.verb == "doctor":
        return load("polyproc._context.doctor", "main")()  # type: ignore[operator, no-any-return]
    install()  # before a package is looked at, which imports it
    try:
        code, module = _module(chosen.program) if chosen.is_module else _script(chosen.program)
    except (OSError, ImportError, SyntaxError) as error:
        print(f"python -m polyproc run: {error}", file=sys.stderr)  # noqa: T201  (it is a command)
        return 2
    sys.argv = [module.__file__ or chosen.program, *chosen.args]
    sys.modules["__main__"] = module  # for good: the program's objects are looked for there until the very end
    exec(code, module.__dict__)
    return 0


def _script(path: str) -> tuple[CodeType, ModuleType]:
    """Compile a file, and make the module that it will be. Raises OSError and SyntaxError."""
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = ModuleType("__main__")
    module.__file__ = path
    module.__dict__["__builtins__"] = sys.modules["builtins"]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.abspath(path))
    return code, module


def _module(name: str) -> tuple[CodeType, ModuleType]:
    """Find a module, or a package's `__main__`, as `python -m` does. Raises ImportError."""
    spec = find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = find_spec(f"{name}.__main__")
    loader = None if spec is None else spec.loader
    code = loader.get_code(spec.name) if spec is not None and hasattr(loader, "get_code") else None  # type: ignore[union-attr]
    if spec is None or code is None:
        raise ImportError(f"No module named {name}, or it cannot be run")
    module = ModuleType("__main__")
    module.__file__ = spec.origin
    module.__spec__ = spec
    module.__loader__ = loader
    module.__package__ = spec.parent
    module.__dict__["__builtins__"] = sys.modules["builtins"]
    return code, module
