"""The repr of a process object, loaded when it is first asked for."""

from __future__ import annotations

import os

from polyproc._base.modules import loaded
from polyproc._base.process_state import process_state
from polyproc._base.typing import Any


def describe(process: Any) -> str:
    """Return the `repr` of a process."""
    exitcode = None
    if process is process_state.current:
        status = "started"
    elif process._closed:
        status = "closed"
    elif process._parent_pid != os.getpid():
        status = "unknown"
    elif process._popen is None:
        status = "initial"
    else:
        exitcode = process._popen.poll()
        status = "started" if exitcode is None else "stopped"
    words = [type(process).__name__, f"name={process._name!r}"]
    if process._popen is not None:
        words.append(f"pid={process._popen.pid}")
    words += [f"parent={process._parent_pid}", status]
    if exitcode is not None:
        words.append(f"exitcode={_exit_name(exitcode)}")
    if process.daemon:
        words.append("daemon")
    return f"<{' '.join(words)}>"


def _exit_name(exitcode: int) -> str:
    signal = loaded("signal")
    if exitcode < 0 and signal is not None:
        for number in signal.Signals:  # type: ignore[attr-defined]
            if number == -exitcode:
                return f"-{number.name}"
    return str(exitcode)
