"""What a parent tells a newborn that shares no memory with it; `preparation.apply` is the child's side.

The message is marshalled, not pickled: a child can read it with nothing imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from polyproc._lazy import load, loaded
from polyproc._process.family import family
from polyproc._process.main_code import describe_main
from polyproc._process.receiving import check_start

Preparation = dict[str, Any]


def capture_tracker(told: Preparation, passed: Callable[[int], int], is_sent: bool) -> None:
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
    elif family.tracker is not None and family.tracker[1].is_there():
        member = family.tracker[0], family.tracker[1].fd
    if member is not None:
        told.update(tracker=passed(member[1]), tracker_is_sent=is_sent, tracker_mark=member[0])


def capture(name: str) -> Preparation:
    """Describe this process for a child named `name`. Raises RuntimeError where none may be started."""
    hidden = check_start()
    path = sys.path.copy()
    if "" in path and family.original_dir is not None:
        path[path.index("")] = family.original_dir
    told: Preparation = {
        "name": str.__str__(name),  # and no subclass
        "authkey": bytes(family.current.authkey),
        "sys_path": path,
        "sys_argv": sys.argv,
        "orig_dir": family.original_dir,
        "ancestors": family.ancestors,
    }
    if hidden:
        told["hidden_starts"] = hidden
    try:
        told["dir"] = os.getcwd()
    except OSError:  # the directory was removed: the child stays where it is
        pass
    logger = loaded("polyproc._logger")
    state = None if logger is None else logger.logging_state.capture()  # type: ignore[attr-defined]
    if state is not None:
        told["logging"] = state
    if family.drop_in:
        told["drop_in"] = True
    if getattr(sys, "frozen", False):
        told["frozen"] = True
    return told


def pack_objects(told: Preparation) -> Preparation:
    """Pickle what cannot be marshalled: a program may put anything into sys.path and sys.argv."""
    objects = {}
    for name in _LISTS:
        if any(type(item) is not str for item in told.get(name, ())):
            objects[name] = [str.__str__(item) if isinstance(item, str) else item for item in told[name]]
            told[name] = [item for item in objects[name] if isinstance(item, str)]  # what imports look at
    if objects:
        told["objects"] = load("polyproc._pickling.pickler", "dumps")(objects)  # type: ignore[operator]
    return told


_LISTS = ("sys_path", "sys_argv")


def capture_extras(told: Preparation) -> Preparation:
    """Add what a program tells its children beyond that: coverage replaces `spawn.get_preparation_data` for it."""
    door: Any = loaded("polyproc.spawn")
    if door is not None and (describe := door.get_preparation_data) is not get_preparation_data:
        described = describe(told["name"])
        extras = {key: described[key] for key in described.keys() - told.keys() - {"main"}}
        told["extras"] = load("polyproc._pickling.pickler", "dumps")(extras)  # type: ignore[operator]
    return told


def get_preparation_data(name: str) -> Preparation:
    """Return what a child named `name` is told about this process."""
    return capture_main(capture(name))


def capture_main(told: Preparation) -> Preparation:
    """Add what the child needs to import this process's main module."""
    main = describe_main()
    if main is not None:
        told["main"] = main
    return told
