"""A newborn that shares no memory with its parent becomes what that has told it (`capture.py`)."""

from __future__ import annotations

import sys

from polyproc._kernel import os
from polyproc._lazy import load
from polyproc._platform.posix import LongLived
from polyproc._process import record_names
from polyproc._process.family import family
from polyproc._process.main_module import import_main

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from polyproc._process.capture import Preparation


def apply(told: Preparation) -> None:
    """Become, in the child, what the parent described; then import its main module, if there is one."""
    record_names.begin()
    if "name" in told:
        family.current.name = told["name"]
    if "authkey" in told:
        family.current.authkey = told["authkey"]
    _join_family(told)
    if "logging" in told:
        load("polyproc._logger", "logging_state").apply(told["logging"])  # type: ignore[attr-defined]
    if "objects" in told:
        told.update(load("_pickle", "loads")(told["objects"]))  # type: ignore[operator]
    if "sys_path" in told:
        sys.path[:] = told["sys_path"]
    if "sys_argv" in told:
        sys.argv = list(told["sys_argv"])
    if "dir" in told:
        try:
            os.chdir(told["dir"])
        except OSError:  # removed meanwhile
            pass
    if told.get("frozen"):
        sys.frozen = True  # type: ignore[attr-defined]
    if "extras" in told:
        load("_pickle", "loads")(told["extras"])  # type: ignore[operator]  # it does what it does as it is opened
    if "main" in told:
        import_main(*told["main"])


def _join_family(told: Preparation) -> None:
    family.ancestors = told.get("ancestors", ())
    if "hidden_starts" in told:
        family.hidden_starts = told["hidden_starts"]
    if "orig_dir" in told:
        family.original_dir = told["orig_dir"]
    if "start_method" in told:
        family.start_method = told["start_method"]
    if "drop_in" in told:
        load("polyproc._context.drop_in", "install")()  # type: ignore[operator]
    if "tracker" not in told:
        return
    fd: int = told["tracker"]
    if told["tracker_is_sent"]:
        fd = load("polyproc._pickling.inherited", "received").fds[fd]  # type: ignore[attr-defined]
    os.set_inheritable(fd, False)
    family.tracker = told["tracker_mark"], LongLived(fd)
