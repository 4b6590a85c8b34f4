"""Rehearse, in a child that waits for its job: do a job that does nothing.

A forked child spends its time in page faults, the first write to each page that it shares with its fork server; a fresh
interpreter in running everything for the first time. So a child that waits goes through all that a job makes it do,
by the same functions, from the packet that brings the job to the last line before its exit.
"""

from __future__ import annotations

import _thread
import atexit
import faulthandler
import marshal
import os
import sys

from polyproc._base.process_state import exit_sequence, log, process_state
from polyproc._pickling.sending import received
from polyproc._platform.posix import anonymous_file
from polyproc._process.black_box import Box, recorder
from polyproc._process.job import perform
from polyproc._start import protocol

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MODULE = __name__ + "ed"


def rehearse(receive: Callable[[protocol.Socket], dict[str, Any]]) -> None:
    """Go once through a life that does nothing.

    Args:
        receive: how this child receives its job, by a channel; it does not act on it.
    """
    if _somebody_waits_for_the_end():
        return
    had_faulthandler = faulthandler.is_enabled()
    before = (
        process_state.current,
        process_state.parent_facts,
        process_state.start_method,
        process_state.ancestors,
        log.sink,
    )
    log.sink = None
    try:
        perform(_receive_from_ourselves(receive), None)
    except (OSError, ValueError):  # no descriptor or no directory left, or sys.path has what cannot be marshalled
        pass
    if recorder.box is not None:
        recorder.box.close()
        recorder.box = None
    if not had_faulthandler:
        faulthandler.disable()
    sys.modules.pop(_MODULE, None)
    received.fds = []
    (
        process_state.current,
        process_state.parent_facts,
        process_state.start_method,
        process_state.ancestors,
        log.sink,
    ) = before
    exit_sequence.started = exit_sequence.exiting = False


def _receive_from_ourselves(receive: Callable[[protocol.Socket], dict[str, Any]]) -> dict[str, Any]:
    box = Box(anonymous_file("polyproc-rehearsal"))
    ours, theirs = protocol.socketpair()
    try:
        protocol.send_job(ours, _job(), [box.fd])
        return receive(theirs)
    finally:
        box.close()
        ours.close()
        theirs.close()


def _somebody_waits_for_the_end() -> bool:
    """Return whether what was imported has registered something for the end, which is not to run now.

    In a fresh interpreter: a forked child has forgotten what its fork server registered.
    """
    finalizers: Any = sys.modules.get("polyproc._cleanup")
    threading: Any = sys.modules.get("threading")
    return bool(
        atexit._ncallbacks()
        or (finalizers is not None and finalizers._finalizer_registry)
        or (threading is not None and threading._threading_atexits)
        or _thread._count()  # where the fork server's lifeline is a thread: a rehearsed end would be that of all
    )


def _job() -> dict[str, Any]:
    """Return a job as a client tells it: see `capture` and `try_marshal`. It changes nothing here."""
    return {
        "name": "",
        "authkey": b"",
        "sys_path": sys.path.copy(),
        "sys_argv": sys.argv,
        "orig_dir": process_state.original_dir,
        "ancestors": (),
        "dir": os.getcwd(),
        "start_method": process_state.start_method,
        "pickled": False,
        "payload": _PROCESS,
        "hang_on": False,
    }


def _module() -> None:  # the code of one: to compile it would take longer than all else here
    global nothing  # noqa: PLW0603

    def nothing() -> None:
        pass


# A process whose target is a function of a module that comes along.
_STATE = {"_args": (), "_kwargs": {}, "_config": {"authkey": b""}, "_name": "", "_popen": None}
_CODE = marshal.dumps(_module.__code__)
_PROCESS = marshal.dumps(
    (
        "ForkServerProcess",
        (_MODULE, "nothing"),
        {**_STATE, "_parent_name": "", "_parent_pid": None},
        (_MODULE, __file__, None, _CODE, None),
    )
)
