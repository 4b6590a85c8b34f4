"""No process is started by an import that a child does only in order to receive what it is to do.

Such an import runs again in each process that it starts, and each of those would start more: 1, 2, 4, 8 of them. The
same holds for a pool's worker that opens a task, for a manager's server that opens a request, and for what the fork
server imports beforehand. What a child runs may import what it likes, and a fork imports nothing.

Two ways do not show at the time, and count: a thread that such an import has left behind, and a process that was forked
in it. What they start may not start others by the same ways.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from _weakrefset import WeakSet  # `weakref` has more, in another file

from polyproc._base.modules import loaded
from polyproc._base.process_state import process_state
from polyproc._process.child_life import MainReached

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType
    from typing import Any

# Where tasks and requests are opened; and the functions there that run what was opened.
_SERVICES = ("polyproc._workers.worker", "polyproc._managers.server")
_RUN = frozenset(("call", "_set_up", "_call", "create", "run_server"))
_EXECUTORS_WORKER = ("concurrent.futures.process", "_process_worker")
_IMPORTING = "<frozen importlib._bootstrap>"
_OPENING = ("polyproc.", "pickle", "cloudpickle.", "importlib")

_left_behind: WeakSet[Any] = WeakSet()


def note_threads(before: Iterable[Any]) -> None:
    """Note that threads which run now, but for those `before`, were started by an import that received something."""
    threading: Any = loaded("threading")
    if threading is not None:
        known = {threading.main_thread(), *before}
        _left_behind.update(thread for thread in threading.enumerate() if thread not in known)


def check_start() -> int:
    """Check that a process which will import modules may be started now.

    Returns:
        How many of the starts that led to it were made in one of the ways that do not show.

    Raises:
        RuntimeError: an import that receives something starts it.
        MainReached: the import of an unguarded main module does.
    """
    if process_state.importing_main:
        raise MainReached
    if process_state.receiving:
        raise _refusal()
    if process_state.parent_facts is None:
        return 0
    frame: FrameType | None = sys._getframe(1)
    if _receives(frame):
        raise _refusal()
    if not (process_state.forked_in_import or _is_left_behind()):
        return process_state.hidden_starts
    if process_state.hidden_starts:
        raise _refusal()
    return 1


def _is_left_behind() -> bool:
    """Return whether this thread was started by an import that received something, or may have been."""
    threading: Any = loaded("threading")
    if threading is None or threading.main_thread().ident == get_ident():
        return False
    thread = threading._active.get(get_ident())
    if thread is not None and thread.name.startswith("polyproc"):
        return False  # one of a pool, say, which was made by somebody who might
    return thread in _left_behind or _receives(sys._current_frames().get(threading.main_thread().ident))


def _receives(frame: FrameType | None) -> bool:
    """Return whether a thread that is in `frame` is importing, and that only to open what it was sent."""
    importing = False
    while frame is not None:
        code, module = frame.f_code, frame.f_globals.get("__name__", "")
        if code.co_filename == _IMPORTING:
            importing = True
        elif module in _SERVICES:
            return importing and code.co_name not in _RUN
        elif (module, code.co_name) == _EXECUTORS_WORKER:
            return importing
        elif not module.startswith(_OPENING):
            importing = False
        frame = frame.f_back
    return False


def _refusal() -> RuntimeError:
    name = _imported()
    error = RuntimeError(
        "An attempt has been made to start a new process before the current process has finished its bootstrapping "
        "phase."
    )
    what = "a module" if name is None else f"the module {name!r}"
    error.add_note(
        f"{what} starts processes as it is imported, and this process imports it to receive what it is to do: each"
        " would start more, without end. Start them in a function that the program calls, or below"
        " `if __name__ == '__main__':` in the file that is run."
    )
    return error


def _imported() -> str | None:
    """Return the name of the module whose import this thread is in."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if frame.f_code.co_name == "<module>" and not name.startswith("polyproc."):
            return name
        frame = frame.f_back
    return None
