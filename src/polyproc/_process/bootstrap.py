"""The life of a child, from its first line to its exit code; it leaves a result in its box, and its files flushed."""

from __future__ import annotations

import _signal
import _thread
import atexit
import gc
import marshal
import sys
from io import BufferedRandom, BufferedWriter, TextIOWrapper

from polyproc._base.kernel import os
from polyproc._base.modules import load
from polyproc._base.process_state import exit_sequence, log, process_state
from polyproc._process import black_box
from polyproc._process.black_box import Box, recorder

try:
    import faulthandler
except ImportError:  # in an interpreter beside the main one; its children have it
    pass

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from typing import Any, NoReturn

    from polyproc._process.process import BaseProcess

WRITERS = {TextIOWrapper, BufferedWriter, BufferedRandom}
_PLAIN = {bool, int, float, str, bytes}


def commit_value(box: Box, value: object) -> None:
    """Put what the target returned into the box."""
    if isinstance(value, bool | int | float | str | bytes) and type(value) in _PLAIN:
        box.commit(black_box.PLAIN, marshal.dumps(value))
        return
    try:
        from polyproc._pickling.pickler import dumps

        data = dumps(value)
    except BaseException as error:  # noqa: BLE001  (a user's __reduce__: the process itself did well)
        box.commit(black_box.UNPICKLABLE, marshal.dumps((type(error).__name__, format_exception(error))))
    else:
        box.commit(black_box.PICKLED, data)


def commit_exception(box: Box, error: BaseException, text: str) -> None:
    """Put an exception into the box, whole if it can be pickled and unpickled, else by name and text."""
    from polyproc._pickling.exceptions import reason_of, sendable

    try:
        from polyproc._pickling.pickler import dumps

        data = dumps((sendable(error), text))
    except BaseException as failure:  # noqa: BLE001  (it cannot travel: its name and its traceback do)
        text += reason_of(failure)
        box.commit(black_box.RAISED_TEXT, marshal.dumps((type(error).__qualname__, text)))
    else:
        box.commit(black_box.RAISED, data)


def format_exception(error: BaseException) -> str:
    """Return the traceback as the interpreter prints it."""
    return "".join(load("traceback", "format_exception")(error))  # type: ignore[operator]


def flush_file(file: Any) -> None:
    """Flush an open file."""
    try:
        if not file.closed:
            file.flush()
    except (OSError, ValueError):  # read-only, or its descriptor is gone
        pass


# A child's life, from its first line to its exit code, whatever way it was started.
#
#     become the process -> run -> result or exception to the box -> exit sequence -> threads -> atexit -> flush ->
# exit
#
# After a fork each Python function that runs for the first time costs two or three page faults, in which the child
# spends its time (`perf record -e page-faults`). So the way of a child that has nothing special to do is short, and
# goes through few functions; what is rare stands apart.


# What a life that ended by a KeyboardInterrupt returns in place of an exit code: no number that anybody exits with.
INTERRUPTED = -(1 << 40)
_SIGINT = (2,)

# Where a process cannot send itself a signal that ends it (Windows) its parent knows it by this.
ENDED_BY_INTERRUPT = 128 + _signal.SIGINT


class MainReached(BaseException):
    """Ends the import of a main module in a child, at its first top-level start of ours. Nobody should catch it."""


def after_fork() -> None:
    """Reset, in a forked child, what the fork copied and what is the parent's alone."""
    gc.freeze()  # what the parent made is not ours to flush, nor to traverse: see `live`
    atexit._clear()
    if exit_sequence.started:
        exit_sequence.after_fork_in_child()
    modules = sys.modules
    if _GREENLETS in modules:
        modules[_GREENLETS].after_fork_in_child()
    if _CLEANUP in modules:
        modules[_CLEANUP]._finalizer_registry.clear()
        if modules[_CLEANUP]._afterfork_registry.data:
            modules[_CLEANUP].run_after_forkers()
    if "threading" in modules:
        modules["threading"].main_thread()._set_native_id()


def has_more_to_reset() -> bool:
    """Return, before a fork, whether its child must do more than freeze and forget exit functions."""
    modules = sys.modules
    return exit_sequence.started or "threading" in modules or _CLEANUP in modules


_CLEANUP = "polyproc._cleanup"
_GREENLETS = "polyproc._platform.handles"


def live(process: BaseProcess[Any], parent_sentinel: int | None, box: Box) -> int:
    """Live as `process` to the end; return the exit code, which is left to be given to os._exit. Raises nothing.

    os._exit and not the interpreter's own end: a forked child must not run the exit of its parent, and a spawned
    one saves the time of taking everything apart. So what such an end would do for the user is done here: exit
    functions run, and files that the child opened are flushed.
    """
    code = 1
    try:
        recorder.box = recorder.to_fill = box
        if sys.breakpointhook is sys.__breakpointhook__:
            sys.breakpointhook = _break
        if not faulthandler.is_enabled() and black_box.TAKES_STACKS:
            faulthandler.enable(box.fd)
        try:
            code = process._bootstrap(parent_sentinel)
        finally:
            atexit._run_exitfuncs()
            if "polyproc._core" in sys.modules:
                sys.modules["polyproc._core"].leave()
            # Files that this process has made: what a forked child inherited is frozen, and its parent may not have
            # written it yet. In this frame, as the streams in run_child: see above what a function costs.
            for found in gc.get_objects():
                if type(found) in WRITERS:
                    flush_file(found)
    except KeyboardInterrupt:  # a Ctrl-C in the midst of the end
        code = INTERRUPTED
    except BaseException:  # noqa: BLE001  (of the end itself: the code says how it went)
        pass
    if code == INTERRUPTED:
        end_by_interrupt()
    try:
        box.note_exit(code)
    except OSError:  # somebody closed our descriptors: the kernel still tells the code
        pass
    return code & 0xFF


def hear_no_other() -> None:
    """After a KeyboardInterrupt: have another Ctrl-C end this process, whatever it does then."""
    try:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    except ValueError:  # this is not the main thread
        pass


def end_by_interrupt() -> NoReturn:
    """End as a program does that a KeyboardInterrupt has left: by SIGINT, for whoever waits for this process."""
    try:
        hear_no_other()
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _SIGINT)
        os.kill(os.getpid(), _signal.SIGINT)
    finally:
        os._exit(ENDED_BY_INTERRUPT)


def run_child(process: BaseProcess[Any], parent_sentinel: int | None = None) -> int:
    """Live as `process`; return its exit code."""
    forebear = process_state.current  # kept: to free it here would touch pages that are shared with the parent
    process_state.parent = None
    process_state.parent_facts = (process._parent_name, process._parent_pid or 0, parent_sentinel)
    process_state.ancestors = (*process_state.ancestors, process._parent_pid or 0)
    process_state.current = process
    if process_state.children:
        process_state.children = set()
    process_state.forked_in_import |= process_state.receiving
    process_state.receiving = False
    process_state.start_counting()
    if process._start_method is not None:
        process_state.start_method = process._start_method
    if log.sink is not None:
        log.info("child process calling self.run()")
    # None for a child of another's launcher, which may have been forked in one of ours.
    box, recorder.to_fill = recorder.to_fill, None
    try:
        try:
            value = process.run()
            exitcode = 0
            if box is not None:
                if value is None:
                    box.kind = black_box.NONE
                else:
                    commit_value(box, value)
        except BaseException as error:  # noqa: BLE001  (whatever leaves the target ends here, as an exit code)
            exitcode = report(process, box, error)
        if process_state.children or log.sink is not None or _CLEANUP in sys.modules:
            exitcode = _run_exit_sequence(process, exitcode)
    finally:
        threading = sys.modules.get("threading")
        if threading is not None and (_thread._count() or threading._threading_atexits):
            threading._shutdown()
        if log.sink is not None:
            log.info("process exiting with exitcode %d", exitcode)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, ValueError, OSError):  # none, or a broken one: there is nobody to tell
                pass
        del forebear
    return exitcode if box is not None else _plain(exitcode)


def _plain(exitcode: int) -> int:
    """Return what os._exit takes, for another's launcher."""
    return 1 if exitcode == INTERRUPTED else exitcode & 0xFF


def _break(*args: Any, **kwds: Any) -> object:
    """Do what breakpoint() does: its standard input is not what a debugger reads from."""
    from polyproc._process.breakpoints import stop_at

    return stop_at(sys._getframe(1), args, kwds)


def _run_exit_sequence(process: BaseProcess[Any], exitcode: int) -> int:
    try:
        exit_sequence.run()
    except BaseException as error:  # noqa: BLE001
        return report(process, None, error)
    return exitcode


def report(process: BaseProcess[Any], box: Box | None, error: BaseException) -> int:
    """Report an exception that left the target, to the box and the error stream; return the exit code for it."""
    if isinstance(error, SystemExit):
        if error.code is None:
            return 0
        if isinstance(error.code, int):
            return error.code
        _write_error(str(error.code) + "\n")
        return 1
    interrupted = isinstance(error, KeyboardInterrupt)
    if interrupted:
        hear_no_other()
    text = format_exception(error)
    if box is not None:
        commit_exception(box, error, text)
    if interrupted:
        return INTERRUPTED  # a Ctrl-C is for all, and reported by the process that started them
    _write_error(f"Process {process.name}:\n{text}")
    return 1


def _write_error(text: str) -> None:
    try:
        sys.stderr.write(text)
    except (AttributeError, OSError, ValueError):  # no stream, or a broken one: there is nobody to tell
        pass


def flush_streams() -> None:
    """Flush the standard streams, as far as they are there and whole."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            pass
