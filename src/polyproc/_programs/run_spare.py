"""The program of a warm spare. Started by `_start/spare.py`; nobody imports it."""

from __future__ import annotations

import _signal
import _socket
import os

from polyproc._base.process_state import process_state
from polyproc._pickling.sending import received
from polyproc._process.black_box import keep
from polyproc._process.job import apply_preparation, import_main, perform_and_exit
from polyproc._programs.rehearsal import rehearse
from polyproc._start import protocol

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any


def main(job: dict[str, Any]) -> None:
    """Load, wait, become what the job says. Never returns."""
    on_interrupt = _signal.getsignal(_signal.SIGINT)
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)  # until it has a job a Ctrl-C is not for it; then it is unblocked
    channel = _socket.socket(fileno=job["channel"])
    channel.settimeout(None)
    os.set_inheritable(job["channel"], False)
    keep("stdout")
    keep("stderr")
    main_description = job.pop("preload_main", None)
    process_state.receiving = True
    apply_preparation(job)
    has_main = _preload(job["preload"], main_description)
    process_state.receiving = False
    rehearse(_receive_job)
    child = _receive_job(channel)
    _signal.signal(_signal.SIGINT, on_interrupt)
    if "hears_interrupt" in job:
        child["hears_interrupt"] = True
    if main_description is not None and not has_main:
        child["main"] = main_description  # it fails again, where the error is seen
    perform_and_exit(child, None)


def _receive_job(channel: protocol.Socket) -> dict[str, Any]:
    try:
        job, fds = protocol.receive_job(channel)
    except (EOFError, ConnectionError):
        os._exit(0)  # its owner is gone, or has no more use for it
    channel.close()
    job["box"] = fds.pop(0)
    if "lifeline" in job:
        job["lifeline"] = fds.pop(0)
    if "end" in job:
        job["end"], job["parent"] = fds.pop(0), fds.pop(0)
    received.fds = fds
    return job


def _preload(names: list[str], main_description: Any) -> bool:
    """Import what is asked for, and main; a module that fails will fail where it is used, and be seen there."""
    for name in names:
        try:
            __import__(name)
        except Exception:  # noqa: BLE001
            pass
    if main_description is None:
        return False
    try:
        import_main(*main_description)
    except BaseException:  # noqa: BLE001  (SystemExit too)
        return False
    return True
