"""The life of a child, from its first line to its exit code; and the lifeline by which it ends with its parent."""

from __future__ import annotations

import _signal
import _thread
import atexit
import gc
import marshal
import sys
from io import BufferedRandom, BufferedWriter, TextIOWrapper

from polyproc._base.modules import load, loaded, os, read
from polyproc._base.process_state import exit_sequence, log, process_state
from polyproc._platform.posix import PROC, LongLived
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
    from polyproc._pickling.pickler import reason_of, sendable

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
_CORE = sys.intern("polyproc._core")  # its hash is known before a fork
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
        if box.is_unwatched:
            box.wait_until_watched()
        if sys.breakpointhook is sys.__breakpointhook__:
            sys.breakpointhook = _break
        if not faulthandler.is_enabled() and black_box.TAKES_STACKS:
            faulthandler.enable(box.fd)
        try:
            code = process._bootstrap(parent_sentinel)
        finally:
            atexit._run_exitfuncs()
            if _CORE in sys.modules:
                sys.modules[_CORE].leave()
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
        file = box.file
        what = None if file is None else file.what
        if code == 0 and box.kind == black_box.NONE and what is not None and os.fstat(box.fd)[1:3] == what:
            os.pwrite(box.fd, black_box.RETURNED_NONE, 0)
        else:
            box.note_exit(code)
    except OSError:  # somebody closed our descriptors: the kernel still tells the code
        pass
    return code & 0xFF


def hear_no_other() -> None:
    """After a KeyboardInterrupt: let another Ctrl-C end this process, whatever it does then."""
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
    process_state.forebear = process_state.current
    process_state.parent = None
    process_state.parent_facts = (process._parent_name, process._parent_pid or 0, parent_sentinel)
    process_state.ancestors = (*process_state.ancestors, process._parent_pid or 0)
    process_state.current = process
    if process_state.children:
        process_state.children = set()
    process_state.forked_in_import |= process_state.receiving
    process_state.receiving = False
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


# The lifeline: a pipe whose write end only this process holds, so that its end tells children that we are gone.
#
# A daemon child (a pool worker, a fork server) opens the read end anew and asks the kernel to send it SIGKILL when the
# state of the pipe changes: F_SETOWN, F_SETSIG and O_ASYNC of fcntl(2). When the last writer is gone, the kernel kills
# the child in whatever it does, also in C code that never comes back to Python, without a thread or a poll.
#
# PR_SET_PDEATHSIG would do the same only for children started from the main thread: it fires when the *thread* that
# forked ends.
#
# The read end is opened anew through /proc/self/fd since owner and signal belong to the open file, not to the
# descriptor: each child needs its own. Nobody ever writes to the pipe. A forked child closes the write end at once.

_F_SETSIG, _F_GETSIG = 10, 11  # Linux, <fcntl.h>; the fcntl module does not name them before 3.15
_SIGKILL = 9


class Lifeline:
    """The lifeline that this process holds for its children. One instance, `lifeline`."""

    def __init__(self) -> None:
        self._read = LongLived()
        self._write = LongLived()
        self._inherited = LongLived()
        self._armed = -1  # known by its signal, which nobody else sets: a new child takes the cheaper way
        self._lock = _thread.allocate_lock()

    def open(self) -> int:
        """Return the read end, made on the first call; anew, if a program has closed it.

        Raises OSError when there is no descriptor left.
        """
        with self._lock:
            if not self._write.is_there():
                self._read.close()
                for end, fd in zip((self._read, self._write), os.pipe(), strict=True):
                    end.take(fd)
                self._reset_in_forks()
                if loaded("polyproc._core") is None:
                    import fcntl  # noqa: F401  (each child would load it: 160 page faults)
            elif not self._read.is_there():  # the other end stays: children hang on to it
                self._read.take(os.open(f"{PROC}/self/fd/{self._write.fd}", os.O_RDONLY | os.O_CLOEXEC))
        return self._read.fd

    def take_inherited(self) -> int:
        """In a forked child: return the read end of its parent's, which is the caller's to close; -1 for none."""
        fd = self._inherited.fd if self._inherited.is_there() else -1
        self._inherited.forget()
        return fd

    def _reset_in_forks(self) -> None:
        """Register `after_fork_in_child`, once there is something to close: each forked child pays for it."""
        if process_state.lifeline is None:
            process_state.lifeline = self
            os.register_at_fork(after_in_child=self.after_fork_in_child)

    def after_fork_in_child(self) -> None:
        """Close, in a forked child, the parent's write end; its read end becomes the inherited one."""
        if self._armed >= 0:
            self._disarm()
        if self._write.fd >= 0 or self._read.fd >= 0 or self._inherited.fd >= 0:
            self._write.close()
            self._inherited.close()
            self._inherited, self._read = self._read, self._inherited
        if self._lock.locked():  # another thread of the parent held it
            self._lock = _thread.allocate_lock()

    def hang_on_to_parent(self, wanted: bool, is_sentinel: bool) -> int | None:
        """In a forked child: die with the parent, if wanted; and let go of what was inherited.

        Returns:
            A duplicate of it, if that is what tells of the parent's end.
        """
        duplicate = os.dup(self._inherited.fd) if is_sentinel else None
        if wanted:
            hang_on(self.take_inherited())
        else:
            self._inherited.close()
        return duplicate

    def ends(self) -> tuple[int, int]:
        """Return the numbers of both ends."""
        return self._read.fd, self._write.fd

    def hangs_on_by(self, fd: int) -> None:
        """In a forked child that hangs on to its parent already, by `fd`: let go of what was inherited."""
        self._inherited.close()
        self.arm(fd)

    def arm(self, fd: int) -> None:
        """Keep what kills this process with its parent."""
        self._armed = fd
        self._reset_in_forks()

    def _disarm(self) -> None:
        fd, self._armed = self._armed, -1
        core: Any = loaded("polyproc._core")
        (_let_go if core is None else core.let_go)(fd)


lifeline = Lifeline()


def hang_on(fd: int) -> None:
    """Die by SIGKILL as soon as the process that holds the write end of `fd` is gone; `fd` is closed.

    Ends this process at once if that has happened already.
    """
    try:
        core: Any = loaded("polyproc._core")
        own = (_hang_on if core is None else core.hang_on)(fd)
    except OSError:  # no /proc, or no F_SETSIG: a thread waits instead
        from polyproc._platform.handles import own_module

        own_thread: Any = own_module("_thread")
        own_thread.start_new_thread(_watch, (fd,))  # and no greenlet, which would wait for its turn
        return
    if own == 0:
        os._exit(1)
    os.close(fd)
    lifeline.arm(own)


def _hang_on(fd: int) -> int:
    """Do what the core's `hang_on` does; return the descriptor that is to stay open, 0 if the process is gone."""
    import fcntl

    own = os.open(f"{PROC}/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(own, _F_SETSIG, _SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    try:
        return own if read(own, 1) else 0
    except BlockingIOError:
        return own


def _let_go(fd: int) -> None:
    try:
        if load("fcntl", "fcntl")(fd, _F_GETSIG) == _SIGKILL:  # type: ignore[operator]
            os.close(fd)
    except OSError:  # this program has closed it
        pass


def _watch(fd: int) -> None:
    while read(fd, 1):
        pass
    os.kill(os.getpid(), _SIGKILL)
