"""The program of a spawned child. Started as `python -c`, by `_start/spawn.py`; nobody imports it."""

from __future__ import annotations

import _signal
import _thread
import gc
import sys

from polyproc._base.kernel import os
from polyproc._base.modules import load
from polyproc._process import bootstrap
from polyproc._process.black_box import Box, keep, recorder
from polyproc._process.preparation import apply_preparation, unmarshal
from polyproc._process.state import process_state

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from polyproc._process.process import BaseProcess


def main(job: dict[str, Any]) -> None:
    """Do the job; never returns."""
    gc.freeze()  # what is there by now holds no file of the user's: bootstrap.live need not look through it
    keep("stdout")
    keep("stderr")
    os.set_inheritable(job["box"], False)
    live(job, None)


def live(job: dict[str, Any], parent_sentinel: int | None) -> NoReturn:
    """Become what the job says, run it and exit. The standard streams are kept."""
    os._exit(perform(job, parent_sentinel))


def perform(job: dict[str, Any], parent_sentinel: int | None) -> int:
    """Become what the job says and run it; return the exit code."""
    if "parent_process" in job:
        parent_sentinel = job["parent_process"]
        load("polyproc._platform.windows_signals", "listen")(job["signals"])  # type: ignore[operator]
    elif "end" in job:
        hold = load("polyproc._process.ends", "ends").hold  # type: ignore[attr-defined]
        parent_sentinel = hold(job["end"], job["parent"], job.get("lifeline") == job["parent"])
    if "lifeline" in job:
        load("polyproc._process.parent", "hang_on")(job["lifeline"])  # type: ignore[operator]
    box = Box.of(job["box"])
    recorder.box = box
    try:
        if "hears_interrupt" in job:
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGINT,))
        process = _make_process(job)
    except KeyboardInterrupt as error:
        bootstrap.hear_no_other()
        bootstrap.commit_exception(box, error, bootstrap.format_exception(error))
        bootstrap.flush_streams()
        bootstrap.end_by_interrupt()
    except BaseException as error:  # noqa: BLE001  (told to the parent and on the error stream, as a target's is)
        text = bootstrap.format_exception(error)
        bootstrap.commit_exception(box, error, text)
        sys.stderr.write(text)
        bootstrap.flush_streams()
        box.note_exit(1)
        return 1
    return bootstrap.live(process, parent_sentinel, box)


def _make_process(job: dict[str, Any]) -> BaseProcess[Any]:
    process_state.current._inheriting = True  # type: ignore[attr-defined]
    process_state.forked_in_import |= process_state.receiving
    process_state.receiving = True
    try:
        apply_preparation(job)
        payload = job["payload"]
        process: BaseProcess[Any] = load("_pickle", "loads")(payload) if job["pickled"] else unmarshal(payload)  # type: ignore[operator]
    finally:
        del process_state.current._inheriting  # type: ignore[attr-defined]
        process_state.receiving = False
        if _thread._count():
            load("polyproc._process.receiving", "note_threads")(())  # type: ignore[operator]
    return process
