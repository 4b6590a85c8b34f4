"""The command line: `python -m polyproc run PROGRAM ARGS`, `python -m polyproc doctor`."""

from __future__ import annotations

import sys

from polyproc._base.modules import load
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
        from polyproc._cli.runner import run

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
    doctor = verbs.add_parser("doctor", help="say what works here, and what to do about what does not")
    doctor.add_argument("--engine", help="say which nodes an engine has, and whether processes start there")
    doctor.add_argument("--command", help="of the engine `command`: what starts a program on a host, as 'ssh {host}'")
    doctor.add_argument("--hosts", type=lambda text: text.split(","), help="the hosts, with commas between them")
    doctor.add_argument("--address", help="on which to listen, for `command`; the cluster, for `ray`")
    asked = parser.parse_args(words)
    from polyproc._cli import doctor as tried

    if asked.engine is None:
        return tried.main()
    options = {name: given for name in ("command", "hosts", "address") if (given := getattr(asked, name)) is not None}
    return tried.main_of_engine(asked.engine, options)
