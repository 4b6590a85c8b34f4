"""A new child that shares no memory with its parent becomes what that has told it (`capture.py`)."""

from __future__ import annotations

import sys

from polyproc._kernel import os
from polyproc._lazy import load
from polyproc._platform.posix import LongLived
from polyproc._process import record_names
from polyproc._process.main_module import import_main
from polyproc._process.state import process_state

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from polyproc._process.capture import Preparation


def apply(preparation: Preparation) -> None:
    """Become, in the child, what the parent described; then import its main module, if there is one."""
    record_names.begin()
    if "name" in preparation:
        process_state.current.name = preparation["name"]
    if "authkey" in preparation:
        process_state.current.authkey = preparation["authkey"]
    _join_family(preparation)
    if "logging" in preparation:
        load("polyproc._logger", "logging_state").apply(preparation["logging"])  # type: ignore[attr-defined]
    if "objects" in preparation:
        preparation.update(load("_pickle", "loads")(preparation["objects"]))  # type: ignore[operator]
    if "sys_path" in preparation:
        sys.path[:] = preparation["sys_path"]
    if "sys_argv" in preparation:
        sys.argv = list(preparation["sys_argv"])
    if "dir" in preparation:
        try:
            os.chdir(preparation["dir"])
        except OSError:  # removed meanwhile
            pass
    if preparation.get("frozen"):
        sys.frozen = True  # type: ignore[attr-defined]
    if "extras" in preparation:
        load("_pickle", "loads")(preparation["extras"])  # type: ignore[operator]  # it does what it does as it is opened
    if "main" in preparation:
        import_main(*preparation["main"])


def _join_family(preparation: Preparation) -> None:
    process_state.ancestors = preparation.get("ancestors", ())
    if "hidden_starts" in preparation:
        process_state.hidden_starts = preparation["hidden_starts"]
    if "orig_dir" in preparation:
        process_state.original_dir = preparation["orig_dir"]
    if "start_method" in preparation:
        process_state.start_method = preparation["start_method"]
    if "drop_in" in preparation:
        load("polyproc._context.drop_in", "install")()  # type: ignore[operator]
    if "tracker" not in preparation:
        return
    fd: int = preparation["tracker"]
    if preparation["tracker_is_sent"]:
        fd = load("polyproc._pickling.inherited", "received").fds[fd]  # type: ignore[attr-defined]
    os.set_inheritable(fd, False)
    process_state.tracker = preparation["tracker_mark"], LongLived(fd)
