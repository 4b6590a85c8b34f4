"""The command line: `python -m polyproc run PROGRAM ARGS`, `python -m polyproc doctor`."""

from __future__ import annotations

import linecache
import marshal
import os
import runpy
import sys
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from importlib.util import MAGIC_NUMBER
from pkgutil import get_importer
from types import CodeType, ModuleType, TracebackType

from polyproc._base.modules import load
from polyproc._base.typing import Callable
from polyproc._process.drop_in import install

_RUN = """usage: python -m polyproc run (FILE | -m MODULE | -c CODE | -) [ARGS]

Run a Python program in which `multiprocessing` means polyproc: a file, a directory or zip archive with a __main__.py, a
module or package, code, or standard input. All is as python runs it.

The program is not changed. It, whatever it imports, and the processes that it starts use polyproc where they ask for
multiprocessing; concurrent.futures, too. Options of the interpreter go before -m polyproc.
"""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["run"] and words[1:2] not in ([], ["-h"], ["--help"]):
        install()  # before a package is looked at, which imports it
        run(words[1:])
        return 0
    if words[:1] == ["run"]:
        out = sys.stdout if words[1:] else sys.stderr
        out.write(_RUN)
        return 0 if words[1:] else 2
    return _other_verb(words)


def _other_verb(words: list[str]) -> int:
    import argparse

    parser = argparse.ArgumentParser(prog="python -m polyproc")
    parser.add_argument("--version", action="version", version=f"polyproc {load('polyproc', '__version__')}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("run", help="run a program in which multiprocessing means polyproc")
    options = verbs.add_parser("doctor", help="say what works here, and what to do about what does not")
    options.add_argument("--engine", help="say which nodes an engine has, and whether processes start there")
    options.add_argument("--command", help="of the engine `command`: what starts a program on a host, as 'ssh {host}'")
    options.add_argument("--hosts", type=lambda text: text.split(","), help="the hosts, with commas between them")
    options.add_argument("--address", help="on which to listen, for `command`; the cluster, for `ray`")
    found = parser.parse_args(words)
    from polyproc._cli import doctor

    if found.engine is None:
        return doctor.main()
    given = {name: value for name in ("command", "hosts", "address") if (value := getattr(found, name)) is not None}
    return doctor.main_of_engine(found.engine, given)


# `python -m polyproc run (FILE | -m MODULE | -c CODE | -) ARGS`: run a program as `python` runs it.
#
# A program can look at how it was started: at its main module, `sys.argv`, `sys.path`, the exit code and the traceback
# of what it raises. All of it is here what it is there. Modules, directories and zip applications are run by the
# standard library's `runpy`, as `python` itself does.

_run_module: Callable[..., object] = runpy._run_module_as_main  # type: ignore[attr-defined]
_HEADER = 16  # bytes of a .pyc file before its code (PEP 552)
_UNTIL_3_15: dict[str, object] = {} if sys.version_info >= (3, 15) else {"__cached__": None}


def run(words: list[str]) -> None:
    """Run the program that the command line `words` names, in this process, as its main module.

    Raises:
        BaseException: what the program raises, to be raised to the interpreter, which then prints it as of the program
            alone.
    """
    first, *rest = words
    if first in ("-m", "-c"):
        if not rest:
            raise SystemExit(_usage(f"Argument expected for the {first} option"))
        what, *rest = rest
    elif first == "-":
        what = ""
    elif first.startswith("-"):
        raise SystemExit(_usage(f"unknown option {first}: those of the interpreter go before -m polyproc"))
    else:
        first, what = "", first
    # For good: the program's objects are looked for there until the very end.
    main = sys.modules["__main__"] = ModuleType("__main__")
    vars(main).update(__builtins__=sys.modules["builtins"], __loader__=BuiltinImporter)
    if sys.version_info < (3, 14):
        vars(main).update(__annotations__={})
    sys.argv = [first or what, *rest]
    try:
        _perform(first, what, main)
    except SystemExit:
        raise
    except BaseException:
        _show_as_its_own()
        raise


def _perform(how: str, what: str, main: ModuleType) -> None:
    if how == "-m":
        _put_first(os.getcwd())
        _run_module(what)
    elif how == "-c":
        _put_first("")
        code = compile(what, "<string>", "exec", dont_inherit=True)
        if sys.version_info >= (3, 13):  # from then on its lines are in tracebacks
            linecache.cache["<string>"] = (len(what), None, what.splitlines(keepends=True), "<string>")
        _execute(code, main)
    elif how == "-":
        _put_first("")
        vars(main).update(__file__="<stdin>", **_UNTIL_3_15)
        _execute(compile(sys.stdin.buffer.read(), "<stdin>", "exec", dont_inherit=True), main)
    elif get_importer(what) is not None:  # a directory, or a zip archive
        _put_first(os.path.join(os.getcwd(), what), is_searched=True)
        _run_module("__main__", False)
    else:
        _put_first(os.path.dirname(os.path.realpath(what)))
        _execute(_file(what, main), main)


def _put_first(path: str, *, is_searched: bool = False) -> None:
    """Put the program's folder in the place of the current one; under -P only one that is searched for it."""
    if not sys.flags.safe_path:
        sys.path[0] = path
    elif is_searched:
        sys.path.insert(0, path)


def _file(name: str, main: ModuleType) -> CodeType:
    """Compile a file; describe it in its module."""
    path = os.path.join(os.getcwd(), name)
    vars(main).update(__file__=path, **_UNTIL_3_15)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        sys.stderr.write(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}\n")
        raise SystemExit(2) from None
    if name.endswith(".pyc"):
        vars(main).update(__loader__=SourcelessFileLoader("__main__", path))
        if data[:4] != MAGIC_NUMBER:
            raise RuntimeError("Bad magic number in .pyc file")
        return marshal.loads(data[_HEADER:])  # type: ignore[no-any-return]
    vars(main).update(__loader__=SourceFileLoader("__main__", path))
    return compile(data, path, "exec", dont_inherit=True)


def _execute(code: CodeType, main: ModuleType) -> None:
    exec(code, vars(main))


def _usage(text: str) -> int:
    sys.stderr.write(f"python -m polyproc run: {text}\n")
    return 2


_OURS = {function.__code__ for function in (run, _perform, _file, _execute)}


def _show_as_its_own() -> None:
    """Leave our frames out of the traceback that the interpreter prints for the program."""
    hook = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.excepthook = hook
        own, left = trace, trace
        while left is not None:
            if left.tb_frame.f_code in _OURS:
                own = left.tb_next
            left = left.tb_next
        hook(kind, error.with_traceback(own), own)

    sys.excepthook = show
