"""The child handle: poll, wait, signal, reap, and read what the child left in its box.

Exit codes come from the kernel by waitpid(2). Where somebody else has reaped the child (a SIGCHLD handler that waits
for any child, SIGCHLD ignored), the kernel still tells it by the pidfd (PIDFD_GET_INFO, Linux 6.15), which the parent
has before the child runs any code of the user's; or the child itself by its box. Where neither does, the code is 255,
as in the standard library's fork server.
"""

from __future__ import annotations

import _signal
import _thread
import errno
import marshal
import sys
import time

from polyproc._base.errors import ProcessDied, RemoteError, RemoteTraceback
from polyproc._base.modules import load, os, read, said
from polyproc._base.process_state import process_state
from polyproc._platform.handles import (
    Heard,
    HeldBack,
    ended_sentinel,
    has_pidfds,
    let_run,
    may_switch,
    open_pidfd,
    pause,
    pidfd,
    ready,
    send_signal,
    tree_of,
)
from polyproc._platform.posix import CGROUPS, LINUX, PROC, SHM, LongLived, close_quietly, temporary_folder, waitid
from polyproc._process import black_box
from polyproc._process.black_box import Box
from polyproc._process.child_life import flush_streams

TYPE_CHECKING = False  # a parent that only forks loads no `threading` nor `signal`: each forked child would pay

if TYPE_CHECKING:
    from typing import Any

    from polyproc._process.process import BaseProcess
    from polyproc.abc import ChildHandle


# What dead families have left: removed by the user's next program, when it starts its first process.
#
# Families end by themselves; this is for those that were killed as a whole. See _memory/tracker.py: a program that
# makes named segments has a tracker, which does the same.

_PROGRAM = "polyproc._programs.run_tracker"


def remove_leftovers(folder: str) -> list[str]:
    """Remove what dead families have left in a folder; return the names of the segments."""
    from importlib.machinery import PathFinder
    from os.path import dirname, join

    # Without importlib.util, which workers would have, too.
    spec: Any = PathFinder.find_spec(_PROGRAM, [join(dirname(dirname(__file__)), "_programs")])
    scope: dict[str, Any] = {"__name__": _PROGRAM}
    exec(spec.loader.get_code(_PROGRAM), scope)
    scope.update(LISTED=SHM, PROC=PROC)
    try:
        removed: list[str] = scope["sweep"](folder)
    except OSError:  # no descriptors left: another time
        removed = []
    return removed


UNKNOWN = 255
_TICK = 0.001  # seconds
_SIGINT, _SIGKILL, _SIGTERM = 2, 9, 15
_SIGCONT = int(getattr(_signal, "SIGCONT", 0))  # of another number on each system; 0 where nothing is ever stopped
_ENDING = (_SIGINT, _SIGTERM)

# It ended by a Ctrl-C, and says where.
_INTERRUPTED = tuple((-_SIGINT, kind) for kind in (black_box.RAISED, black_box.RAISED_TEXT))

# linux/pidfd.h: _IOWR(0xFF, 11, struct pidfd_info), 64 bytes in its first version; the mask is its first word,
# the exit code its last but one.
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_INFO_SIZE = 64
_EXIT_CODE_AT = 60
_has_looked: list[bool] = []


def _look_for_leftovers() -> None:
    """Remove, once in a program, what dead ones have left; children need not."""
    _has_looked.append(True)
    folder = SHM if LINUX else temporary_folder()  # see _memory/tracker.py
    try:
        names = os.listdir(folder) if process_state.parent_facts is None else []
    except OSError:
        names = []
    if any(name.startswith(".polyproc-") for name in names):
        remove_leftovers(folder)
    if any(name.startswith("polyproc-listener-") for name in names):
        from polyproc._connection.sockets import remove_left

        remove_left(folder)


# How many processes the kernel has killed for lack of memory: of our control group, or of the system.
#
# The kernel does not tell which process it killed, only how many: `oom_kill` in memory.events (cgroups(7), version 2),
# memory.oom_control (version 1) and /proc/vmstat. It counts before it kills.


class Kills:
    """The count, as far as deaths were explained by it. One instance, `kills`."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._explained = -1  # -1: not looked at yet

    def begin(self) -> None:
        """Count from now on, unless that was done."""
        if self._explained < 0:
            self._path = next((path for path in _counters() if _kills_in(path) is not None), None)
            self._explained = self._count()

    def explain_one(self) -> bool:
        """Return whether there was a kill that explains the death of a process, and that of no other yet."""
        if self._count() <= self._explained:
            return False
        self._explained += 1
        return True

    def _count(self) -> int:
        return (0 if self._path is None else _kills_in(self._path)) or 0


def _counters() -> list[str]:
    """Return where the count may stand, the nearest group first."""
    root = CGROUPS
    paths = []
    try:
        with open(f"{PROC}/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                _, controllers, group = line.rstrip("\n").split(":", 2)
                if not controllers:
                    paths += [f"{root}{group}/memory.events", f"{root}/unified{group}/memory.events"]
                elif "memory" in controllers.split(","):
                    paths.append(f"{root}/{controllers}{group}/memory.oom_control")
    except (OSError, ValueError):  # no /proc, or not as we know it
        pass
    # In a container our group is the root of what we see.
    return [*paths, f"{root}/memory.events", f"{root}/memory/memory.oom_control", f"{PROC}/vmstat"]


def _kills_in(path: str) -> int | None:
    try:
        with open(path, encoding="utf-8") as file:
            words = file.read().split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):  # not there, or not in it
        return None


kills = Kills()


def begin_once() -> None:
    """Do what comes before the first child of a program."""
    if not _has_looked:
        kills.begin()
        _look_for_leftovers()
        black_box.name_log_records()


def make_box(box: Box) -> None:
    """Make a box that its holder can close, for a child of this process. Raises OSError: no descriptor is left."""
    box.is_unwatched = pidfd.may_work and _signal.getsignal(_signal.SIGCHLD) != _signal.SIG_DFL
    box.create()


class Child:
    """A started child of this process. Subclasses start it; each names its start method in `method`."""

    method = ""
    _masks = False  # whether it keeps Ctrl-C off by itself: around a fork, each line costs

    returncode: int | None = None
    pid: int = -1
    sentinel: int = -1
    _status_fd = _spare_fd = _end_fd = -1
    _watched = LongLived()  # the sentinel, and where a fork server tells the status: a program may close them
    _status = LongLived()
    _box = Box(-1)
    _reaped = (0, 0)  # what waitpid(2) has told
    _status_read: bytes | None = None  # what a fork server has told
    _left: tuple[int, bytes] | None = None
    _output = ""
    _stack: str | None = None
    _was_told_to_die = _lacked_memory = _is_flushed = False

    def __init__(self, process_obj: BaseProcess[Any]) -> None:
        self.name: str = process_obj._name
        self._lock = _thread.allocate_lock()
        begin_once()
        if not self._is_flushed:
            (flush_before_start if _thread._count() else flush_streams)()
        if self._masks:
            self._begin(process_obj)
        else:
            with HeldBack():
                self._begin(process_obj)

    def _begin(self, process_obj: BaseProcess[Any]) -> None:
        try:
            if self._box.fd < 0:
                self._box = Box(-1)
                make_box(self._box)
            # Room for the sentinel: without it a child could be there that cannot be watched.
            box_fd = self._box.fd
            [self._spare_fd] = map(os.dup, (box_fd,))  # one step: a Ctrl-C comes before or after it
            self._start(process_obj)
            self._watched, self._status = LongLived(self.sentinel), LongLived(self._status_fd)
        except OSError as error:
            self._give_up()
            raise start_failed(error) from None
        except BaseException:
            self._give_up()
            raise
        # Here: a Ctrl-C may come as this returns.
        process_obj._popen, process_obj._sentinel = self, self.sentinel
        process_state.children.add(process_obj)

    def _start(self, process_obj: BaseProcess[Any]) -> None:
        raise NotImplementedError

    def _make_room(self) -> None:
        """Free the number that was kept for the sentinel."""
        spare, self._spare_fd = self._spare_fd, -1
        os.close(spare)

    def _begin_end(self) -> Any:
        """Make the pipe that ends with the child, where there are no pidfds; return `ends`, else None."""
        if has_pidfds():
            return None
        ends = _ends()
        self._end_fd = ends.begin()
        return ends

    def _finish_end(self) -> int:
        end_fd, self._end_fd = self._end_fd, -1
        if end_fd >= 0:
            _ends().finish()
        return end_fd

    def _give_up(self) -> None:
        """Free what a failed start has taken; kill the child if there is one already."""
        with HeldBack():
            if self.pid > 0:
                _kill_and_reap(self.pid)
            self._box.close()
            close_quietly(self._spare_fd, self._status_fd, self.sentinel, self._finish_end())
            self._spare_fd = self._status_fd = self.sentinel = -1

    def _started(self, pid: int) -> None:
        self.pid = pid
        self._make_room()
        if self._end_fd >= 0:
            self.sentinel = self._finish_end()
        else:
            _open_sentinel(self, pid)
        if self.sentinel < 0:  # it has ended, and SIGCHLD is ignored, or somebody was faster
            self.sentinel = ended_sentinel()
        elif self._box.is_unwatched:
            self._box.note_watched()

    def duplicate_for_child(self, fd: int) -> int:
        """Pass `fd` to the child under the number that is returned: after a fork it has it already."""
        return fd

    # -- waiting ---------------------------------------------------------------------------------------------------

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code if the child has ended, without waiting; with a flag of 0, wait for that."""
        if self.returncode is None:
            if flag == 0:
                self._block()
            self._reap()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait up to `timeout` seconds; return the exit code, or None if the child still runs."""
        if self.returncode is None and may_switch():
            self._wait_between_greenlets(timeout)
        if self.returncode is None:
            if timeout is None:
                self._block()
            elif not ready([self._ensure_sentinel()], timeout):
                return None
            self._reap()
            while self.returncode is None:
                # The sentinel is ready an instant before the status is there; or another thread reaps right now.
                self._block(again=True)
                self._reap()
        return self.returncode

    def _wait_between_greenlets(self, timeout: float | None) -> None:
        """Reap the child when it has ended, unless another greenlet of this interpreter does."""
        deadline = None if timeout is None else time.monotonic() + timeout
        turns = 0
        while True:
            self._reap()
            left = -1.0 if deadline is None else deadline - time.monotonic()
            if self.returncode is not None or (deadline is not None and left <= 0):
                return
            if not let_run(turns, left):
                return
            turns += 1

    def _block(self, again: bool = False) -> None:
        """Wait, without reaping, until the child has ended: any number of threads may do so at once.

        `again`: this was done, and then it could not be reaped.
        """
        if self._status_fd < 0 and waitid.may_work:
            try:
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
                return
            except OSError:  # reaped by somebody else, or about to be by another thread; or a filter
                pass
        if again:
            pause(_TICK)  # it has closed all its descriptors, at its end or before that
        if self._ensure_sentinel() >= 0:
            ready([self.sentinel], None)

    def _ensure_sentinel(self) -> int:
        """Return the sentinel, anew if this program has closed it: its child is not reaped, and the pid is its own."""
        if not self._watched.is_there() and self._watched.fd >= 0:
            self._watched.take(open_pidfd(self.pid))
            self.sentinel = self._watched.fd
        return self.sentinel

    def _reap(self) -> None:
        with self._lock:
            if self.returncode is None:
                code = self._waitpid() if self._status_fd < 0 else self._read_status()
                if code is not None:
                    self._settle(code)

    def _waitpid(self) -> int | None:
        try:
            if not self._reaped[0]:
                [self._reaped] = map(os.waitpid, (self.pid,), (os.WNOHANG,))  # one step: the kernel tells it once
        except ChildProcessError:
            return self._code_without_status() if not self._runs() else None
        pid, status = self._reaped
        return os.waitstatus_to_exitcode(status) if pid == self.pid else None

    def _runs(self) -> bool:
        return self._ensure_sentinel() >= 0 and not ready([self.sentinel], 0)

    def _read_status(self) -> int | None:
        """Read the exit code from the fork server, which is the child's parent here."""
        if self._status_read is None and self._runs():
            return None
        if self._status_read is None and self._status.is_there():
            [self._status_read] = map(read, (self._status_fd,), (8,))  # one step: the pipe tells it once
        status = self._status_read or b""
        return int.from_bytes(status, "little", signed=True) if len(status) == 8 else self._code_without_status()

    def _code_without_status(self) -> int:
        info = bytearray(_INFO_SIZE if has_pidfds() else 0)
        info[:8] = _PIDFD_INFO_EXIT.to_bytes(8, sys.byteorder)
        try:
            load("fcntl", "ioctl")(self._ensure_sentinel(), _PIDFD_GET_INFO, info)  # type: ignore[operator]
        except (OSError, ValueError):  # there is none any more
            pass
        else:
            if int.from_bytes(info[:8], sys.byteorder) & _PIDFD_INFO_EXIT:
                status = int.from_bytes(info[_EXIT_CODE_AT:], sys.byteorder)
                return os.waitstatus_to_exitcode(status)
        noted = self._box.exit_code()
        return UNKNOWN if noted is None else noted

    def _settle(self, code: int) -> None:
        """Read what the child left, unless it was read: a Ctrl-C came. Then it costs no descriptor but the sentinel."""
        try:
            if self._left is None:
                self._box.check()
                left = self._box.result()
                if left[0] == black_box.NOTHING or code != 0:
                    self._output, self._stack = self._box.output(), self._box.stack()
                self._left = left
            self._box.close()
        except OSError as error:
            self._left = (black_box.NOTHING, b"")
            self._output = f"(its black box cannot be read: {error})"
        self._status.close()
        self._status_fd = -1
        if code == -_SIGKILL and not self._was_told_to_die:
            self._lacked_memory = kills.explain_one()
        self.returncode = code

    # -- signals ---------------------------------------------------------------------------------------------------

    def signal(self, signum: int) -> None:
        """Send a signal; nothing happens if the child has ended."""
        refused: PermissionError | None = None
        with self._lock:
            if self.returncode is not None:
                return
            if signum == _SIGKILL:
                self._was_told_to_die = True
            try:
                self._signal_it(signum)
                if signum in _ENDING and _SIGCONT:
                    self._signal_it(_SIGCONT)  # a stopped process does not see what is sent to it
            except ProcessLookupError:
                pass
            except PermissionError as error:
                refused = error
        if refused is not None and self.wait(timeout=0.1) is None:  # to wait takes the lock
            raise refused

    def _signal_it(self, signum: int) -> None:
        # By the pidfd it cannot reach another process that got the same number.
        send_signal(self._ensure_sentinel() if self._status_fd >= 0 else -1, self.pid, signum)

    def terminate(self) -> None:
        """Send SIGTERM; a stopped process is continued."""
        self.signal(_SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.signal(_SIGKILL)

    def interrupt(self) -> None:
        """Send SIGINT."""
        self.signal(_SIGINT)

    # -- the outcome -----------------------------------------------------------------------------------------------

    def outcome(self) -> tuple[bool, Any]:
        """Return (True, what the child returned) or (False, the exception it raised or ProcessDied)."""
        kind, data = self._left or (black_box.NOTHING, b"")
        if self.returncode not in (0, 1) and (self.returncode, kind) not in _INTERRUPTED:
            # It gave a result and then did not come to an orderly end: what it was to leave may be missing.
            return False, self.died()
        if kind == black_box.NONE:
            return True, None
        if kind in (black_box.PLAIN, black_box.PICKLED):
            return self._value(kind, data)
        if kind in (black_box.RAISED, black_box.RAISED_TEXT, black_box.UNPICKLABLE):
            return False, _exception(self, kind, data)
        return False, self.died()

    def _value(self, kind: int, data: bytes) -> tuple[bool, Any]:
        try:
            return True, marshal.loads(data) if kind == black_box.PLAIN else load("pickle", "loads")(data)  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001  (a user's __setstate__, or a box that was written over)
            error.add_note(f"while reading the result of {self.name} (pid {self.pid})")
            return False, error

    def died(self) -> ProcessDied:
        """Describe how the child ended."""
        return ProcessDied(
            self.pid,
            self.returncode,
            name=self.name,
            signal=_signal_of(self.returncode),
            output=self._output,
            stack=self._stack,
            reason="oom" if self._lacked_memory else None,
        )

    def close(self) -> None:
        """Give back the sentinel."""
        self.sentinel = -1
        self._watched.close()

    def __del__(self) -> None:
        try:
            self._box.close()
        except (AttributeError, OSError):  # it was never made, or its number was closed by somebody else
            pass
        if self._watched.fd >= 0:
            self._watched.close()
            self._status.close()
        else:  # the start has failed
            close_quietly(self._status_fd, self.sentinel)


def _open_sentinel(child: Child, pid: int) -> None:
    try:
        for child.sentinel in map(os.pidfd_open, (pid,)) if pidfd.has_worked else ():  # one step, as above
            pass
    except OSError:  # `open_pidfd` knows what that says
        pass
    if child.sentinel < 0:
        child.sentinel = open_pidfd(pid)


def _exception(child: Child, kind: int, data: bytes) -> BaseException:
    try:
        if kind == black_box.RAISED:
            error, text = load("pickle", "loads")(data)  # type: ignore[operator]
            error.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
            return error  # type: ignore[no-any-return]
        _, text = marshal.loads(data)
    except Exception as error:  # noqa: BLE001  (as above)
        error.add_note(f"while reading the exception of {child.name} (pid {child.pid})")
        return error
    if kind == black_box.UNPICKLABLE:
        return RemoteError(f"{child.name} returned a value that cannot be pickled\n{text}")
    return RemoteError(text)


def _signal_of(code: int | None) -> Any:
    """Return the signal that an exit code tells of; None for none, and for a real-time signal, which has no name."""
    try:
        return load("signal", "Signals")(-code) if code is not None and code < 0 else None  # type: ignore[operator]
    except ValueError:
        return None


def _kill_and_reap(pid: int) -> None:
    try:
        os.kill(pid, _SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):  # reaped by somebody else, or by the fork server
        pass


def _ends() -> Any:
    from polyproc._process.ends import ends

    return ends


def flush_before_start() -> None:
    """Flush the standard streams: the child's output stands behind what was written, which is not written twice."""
    if _thread._count():
        from polyproc._start.fork_with_threads import flush

        flush()
    else:
        flush_streams()


def start_failed(error: OSError) -> OSError:
    """Add to an error of a start what was being made and what to do; the type and the number stay."""
    advice = {
        errno.EAGAIN: "the limit of processes is reached (ulimit -u, or the container's pids limit)",
        errno.ENOMEM: "there is not enough memory for another process",
        errno.EMFILE: "this process has no descriptor left (ulimit -n)",
        errno.ENFILE: "the system has no descriptor left",
        errno.ENOENT: "the Python executable is not there: see set_executable()",
        errno.EACCES: "the Python executable cannot be run: see set_executable()",
    }.get(error.errno or 0)
    if advice is not None:
        error.add_note(f"a process could not be started: {advice}")
    return error


# Ending a child that may not listen: step by step, with its whole tree at the end.

# How long a daemon child has, at its parent's exit, between SIGTERM and SIGKILL.
EXIT_GRACE = 5.0


def stop(child: ChildHandle, grace: float) -> int:
    """SIGINT, SIGTERM, then SIGKILL, `grace` seconds in all, and SIGKILL to what is left of its tree; return the code.

    The tree is looked at before each signal: when the child itself has ended, nothing tells any more whose its
    descendants were.
    """
    if type(grace) is not float:
        said("seconds", grace, "grace")
    deadline = time.monotonic() + max(grace, 0.0)
    with HeldBack(), tree_of(child) as tree:
        for signum in (_signal.SIGINT, _signal.SIGTERM):
            if child.poll() is None:
                tree.look()
                child.signal(signum)
                left = deadline - time.monotonic()
                with Heard():
                    child.wait(max(left / 2 if signum == _signal.SIGINT else left, 0.0))
        tree.kill()
    if child.poll() is None:
        child.kill()  # where nothing tells of a tree
    code = child.wait()
    assert code is not None  # SIGKILL ends every process
    return code


def finish(child: ChildHandle) -> None:
    """Wait for a daemon child that was told to end; kill it if it does not."""
    child.signal(_SIGCONT)
    if child.wait(EXIT_GRACE) is None:
        child.kill()
