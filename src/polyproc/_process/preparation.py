"""What a parent tells a newborn that shares no memory with it: capture() in the parent, apply() in the child.

The message is marshalled, not pickled: a child can read it with nothing imported.
"""

from __future__ import annotations

import os
import sys

from polyproc._lazy import load, loaded
from polyproc._process.family import family
from polyproc._process.main_module import describe_main, import_main

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any

    Preparation = dict[str, Any]


def capture(name: str) -> Preparation:
    """Describe this process for a child named `name`."""
    path = sys.path.copy()
    if "" in path and family.original_dir is not None:
        path[path.index("")] = family.original_dir
    told: Preparation = {
        "name": name,
        "authkey": bytes(family.current.authkey),
        "sys_path": path,
        "sys_argv": sys.argv,
        "orig_dir": family.original_dir,
    }
    try:
        told["dir"] = os.getcwd()
    except OSError:  # the directory was removed: the child stays where it is
        pass
    logger = loaded("polyproc._logger")
    state = None if logger is None else logger.logging_state.capture()  # type: ignore[attr-defined]
    if state is not None:
        told["logging"] = state
    if getattr(sys, "frozen", False):
        told["frozen"] = True
    return told


def capture_main(told: Preparation) -> Preparation:
    """Add what the child needs to import this process's main module."""
    main = describe_main()
    if main is not None:
        told["main"] = main
    return told


def apply(told: Preparation) -> None:
    """Become, in the child, what the parent described; then import its main module, if there is one."""
    if "name" in told:
        family.current.name = told["name"]
    if "authkey" in told:
        family.current.authkey = told["authkey"]
    if "logging" in told:
        load("polyproc._logger", "logging_state").apply(told["logging"])  # type: ignore[attr-defined]
    if "sys_path" in told:
        sys.path[:] = told["sys_path"]
    if "sys_argv" in told:
        sys.argv = list(told["sys_argv"])
    if "dir" in told:
        try:
            os.chdir(told["dir"])
        except OSError:  # removed meanwhile
            pass
    if "orig_dir" in told:
        family.original_dir = told["orig_dir"]
    if "start_method" in told:
        family.start_method = told["start_method"]
    if told.get("frozen"):
        sys.frozen = True  # type: ignore[attr-defined]
    if "main" in told:
        import_main(*told["main"])
