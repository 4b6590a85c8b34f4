"""What a parent tells a new child that shares no memory with it; `preparation.apply` is the child's side.

The message is marshalled, not pickled: a child can read it with nothing imported.
"""

from __future__ import annotations

import os
import sys

from polyproc._lazy import load, loaded
from polyproc._process.main_code import describe_main
from polyproc._process.receiving import check_start
from polyproc._process.state import process_state
from polyproc._typing import Any, Callable

Preparation = dict[str, Any]


def capture_tracker(preparation: Preparation, passed: Callable[[int], int], is_sent: bool) -> None:
    """Tell of the family's tracker, if there is one.

    Args:
        told: what the child is told.
        passed: has a descriptor passed to the child; returns its number there or, if they are sent, its place.
        is_sent: whether they are.
    """
    module: Any = loaded("polyproc._memory.tracker")
    member: Any = None
    if module is not None:
        member = module.tracker.member()
    elif process_state.tracker is not None and process_state.tracker[1].is_there():
        member = process_state.tracker[0], process_state.tracker[1].fd
    if member is not None:
        preparation.update(tracker=passed(member[1]), tracker_is_sent=is_sent, tracker_mark=member[0])


def capture(name: str) -> Preparation:
    """Describe this process for a child named `name`. Raises RuntimeError where none may be started."""
    hidden = check_start()
    path = sys.path.copy()
    if "" in path and process_state.original_dir is not None:
        path[path.index("")] = process_state.original_dir
    preparation: Preparation = {
        "name": str.__str__(name),  # and no subclass
        "authkey": bytes(process_state.current.authkey),
        "sys_path": path,
        "sys_argv": sys.argv,
        "orig_dir": process_state.original_dir,
        "ancestors": process_state.ancestors,
    }
    if hidden:
        preparation["hidden_starts"] = hidden
    try:
        preparation["dir"] = os.getcwd()
    except OSError:  # the directory was removed: the child stays where it is
        pass
    logger = loaded("polyproc._logger")
    state = None if logger is None else logger.logging_state.capture()  # type: ignore[attr-defined]
    if state is not None:
        preparation["logging"] = state
    if process_state.drop_in:
        preparation["drop_in"] = True
    if getattr(sys, "frozen", False):
        preparation["frozen"] = True
    return preparation


def pack_objects(preparation: Preparation) -> Preparation:
    """Pickle what cannot be marshalled: a program may put anything into sys.path and sys.argv."""
    objects = {}
    for name in _LISTS:
        if any(type(item) is not str for item in preparation.get(name, ())):
            objects[name] = [str.__str__(item) if isinstance(item, str) else item for item in preparation[name]]
            preparation[name] = [item for item in objects[name] if isinstance(item, str)]  # what imports look at
    if objects:
        preparation["objects"] = load("polyproc._pickling.pickler", "dumps")(objects)  # type: ignore[operator]
    return preparation


_LISTS = ("sys_path", "sys_argv")


def capture_extras(preparation: Preparation) -> Preparation:
    """Add what a program tells its children beyond that: coverage replaces `spawn.get_preparation_data` for it."""
    public: Any = loaded("polyproc.spawn")
    if public is not None and (describe := public.get_preparation_data) is not get_preparation_data:
        described = describe(preparation["name"])
        extras = {key: described[key] for key in described.keys() - preparation.keys() - {"main"}}
        preparation["extras"] = load("polyproc._pickling.pickler", "dumps")(extras)  # type: ignore[operator]
    return preparation


def get_preparation_data(name: str) -> Preparation:
    """Return what a child named `name` is told about this process."""
    return capture_main(capture(name))


def capture_main(preparation: Preparation) -> Preparation:
    """Add what the child needs to import this process's main module."""
    main = describe_main()
    if main is not None:
        preparation["main"] = main
    return preparation
