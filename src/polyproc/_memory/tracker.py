"""The tracker: a small process that removes named segments when everybody who could is gone.

Only names need it; everything else of ours is anonymous. It is started by the first process of a family that creates a
segment. It waits until the last process of the family has ended, and every process that its starter descends from, so
that a segment outlives the child that made it; then it removes what is still there.

    /dev/shm/.polyproc-<mark>              the family's file: each of its processes shares a lock of it (flock(2)).
                                           The kernel gives that up when the last is gone; the tracker waits for it
    /dev/shm/psm_<mark>...                 a segment with a name at random: the name says whose it is
    /dev/shm/.polyproc-<mark>-<what> -> N  a tag, a symbolic link: segment N, with a given name, is the family's, if it
                                           has the device and inode that stand there; or N is to stay

All that the tracker knows lies there. One that was killed is replaced by another that knows the same, and what a family
leaves that was killed with its tracker is removed by the next tracker of the user. No pid tells which are alive: locks
do, in containers that share the folder, too. A lock is held by a mapping: it stays when a program closes all
descriptors.
"""

from __future__ import annotations

import _posixshmem
import binascii
import fcntl
import mmap
import os
import struct
import sys
import threading
import time
import warnings
from importlib.util import find_spec
from itertools import starmap

from polyproc._base.modules import public, write
from polyproc._base.native import native
from polyproc._base.process_state import process_state
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Final
from polyproc._platform.handles import HeldBack, pause, started_at
from polyproc._platform.interpreter import command_line, spawn, starter
from polyproc._platform.posix import LINUX, PROC, SHM, LongLived, close_quietly, forks, temporary_folder

# The standard library's way to speak to a tracker, for trackers of somebody else's.

_LONGEST = 512  # bytes of a line: so many are written in one piece


@public("resource_tracker")
class ReentrantCallError(RuntimeError):
    """Is never raised here: a tracker may be called within a call. For programs that expect it."""


@public("resource_tracker")
class ResourceTracker:
    """The standard library's: lines `COMMAND:name:kind` to a helper, by the descriptor `_fd`. To be subclassed.

    A subclass has a helper of its own, with commands of its own: it overrides `ensure_running`. One that does not
    gets a tracker of its own, which heeds what is said of segments.
    """

    _another: Callable[[], Any]  # begins a family with a tracker of its own
    _use_simple_format: bool = True  # else lines of JSON
    _waitpid_timed_out = False
    _exitcode: int | None = None
    _lock: Any
    _fd: int | None
    _pid: int | None
    _family: Any = None

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._fd = None
        self._pid = None

    def getfd(self) -> int | None:
        """Return a descriptor to which the lines can be written."""
        self.ensure_running()
        return self._fd

    def ensure_running(self) -> None:
        """Start the helper that reads what is written to `_fd`, if none runs."""
        with self._lock:
            if not self._check_alive():
                self._family = self._another()
                self._fd = self._family.getfd()

    def _check_alive(self) -> bool:
        """Return whether what is written arrives."""
        if self._fd is None:
            return False
        if self._family is not None:
            return bool(self._family._check_alive())
        try:
            write(self._fd, b"PROBE:0:noop\n")
        except OSError:
            return False
        return True

    def _stop(self, use_blocking_lock: bool = True, wait_timeout: float | None = None) -> None:
        """End the helper, by the end of its pipe, and wait for it: not longer than a time limit."""
        turn = [*starmap(self._lock.acquire, ((use_blocking_lock,),))]
        try:
            fd, self._fd = self._fd, None
            family, self._family = self._family, None
            if family is not None:
                family._stop(wait_timeout=wait_timeout)
                self._exitcode, self._waitpid_timed_out = family._exitcode, family._waitpid_timed_out
            elif fd is not None:
                os.close(fd)
                self._reap(wait_timeout)
        finally:
            if turn[0]:
                self._lock.release()

    def _reap(self, wait_timeout: float | None = None) -> None:
        """Wait for the helper's end, and note its exit code; or that it did not end in time."""
        pid, self._pid = self._pid, None
        self._exitcode = None
        if pid is None:
            return
        deadline = None if wait_timeout is None else time.monotonic() + wait_timeout
        try:
            while True:
                ended, status = os.waitpid(pid, 0 if deadline is None else os.WNOHANG)
                if ended:
                    self._exitcode = os.waitstatus_to_exitcode(status)
                    return
                if deadline is not None and time.monotonic() > deadline:
                    self._waitpid_timed_out = True
                    return
                time.sleep(0.005)
        except ChildProcessError:  # the program has waited for it
            pass

    def register(self, name: str, rtype: str) -> None:
        """Register something that is removed when its users have ended."""
        self._send("REGISTER", name, rtype)

    def unregister(self, name: str, rtype: str) -> None:
        """Report that something was removed, or is to stay."""
        self._send("UNREGISTER", name, rtype)

    def _send(self, cmd: str, name: str, rtype: str) -> None:
        """Write a line to a helper that runs."""
        line = line_of(cmd, name, rtype, self._use_simple_format)
        self.ensure_running()
        assert self._fd is not None  # ensure_running saw to it
        write(self._fd, line)


def line_of(cmd: str, name: str, rtype: str, is_simple: bool = True) -> bytes:
    """Return a line of the standard library's, written in one piece; one of JSON where the name would make it two."""
    if is_simple and "\n" not in name:
        line = f"{cmd}:{name}:{rtype}\n".encode(errors="surrogateescape")
    else:
        import base64
        import json

        encoded = base64.urlsafe_b64encode(os.fsencode(name)).decode()
        line = json.dumps({"cmd": cmd, "rtype": rtype, "base64_name": encoded}, separators=(",", ":")).encode() + b"\n"
    if len(line) > _LONGEST:
        raise ValueError("msg too long" if sys.version_info >= (3, 14) else "name too long")
    return line


_PROGRAM = "polyproc._programs.run_tracker"
PREFIX = "/psm_"  # of names at random; then comes the mark
_HIDDEN = ".polyproc-"  # of a family's file, and of its tags
_DIGITS = 6  # bytes of a mark
_ALIVE = 1  # the byte of its family's file that a tracker has locked: see _programs/run_tracker.py
_SIZE = 4096  # of a family's file; what programs write to it comes behind
_SHARED_MEMORY = "shared_memory"
_FOLDER = SHM  # where the names can be listed; elsewhere each segment has a tag


def _folder() -> str:
    return _FOLDER if os.path.isdir(_FOLDER) else temporary_folder()


class PortableLines:
    """The tracker's lines, checked at each use; csrc/bind/py_lines.c does the same, and checks less often."""

    _mark = ""
    _mapping: mmap.mmap | None = None
    ensure_running: Callable[[], None]

    def _map(self, fd: int) -> None:
        """Keep a file open by a mapping, in place of the one before; -1 for none."""
        before, self._mapping = self._mapping, None
        if before is not None:
            before.close()
        if fd >= 0:
            self._mapping = mmap.mmap(fd, _SIZE, prot=mmap.PROT_READ, **_UNTRACKED)

    def marked(self) -> str:
        """Return the mark for a new segment; "" if the tracker has to be told of it.

        Raises:
            OSError: no tracker can be started.
        """
        if self.is_replaced():
            return ""
        self.ensure_running()
        return self._mark if os.path.isdir(_FOLDER) else ""

    def covers(self, name: str) -> bool:
        """Return whether it knows of a segment by its name."""
        return bool(self._mark) and not self.is_replaced() and name.startswith(PREFIX + self._mark)

    def is_replaced(self) -> bool:
        """Return whether a program has replaced a method (docs/adr/0010): then that is called for each segment."""
        return not {"register", "unregister"}.isdisjoint(vars(self))


if TYPE_CHECKING or not native:
    Lines = PortableLines
else:
    from polyproc._core import Lines


class FamilyTracker(Lines, ResourceTracker):
    """The client's side of our tracker, and this process's part in its family. One instance, `tracker`."""

    def __init__(self, part: tuple[str, LongLived] | None = None) -> None:
        self._lock = threading.RLock()
        self._file = LongLived()  # the family's, with the lock that is shared
        self._pid = None
        self._own_fd: int | None = None  # what a program has put in place of ours
        if part is not None:
            self.join(*part)
        forks.in_others(self._leave)

    # -- the family ------------------------------------------------------------------------------------------------

    def join(self, mark: str, file: LongLived) -> None:
        """Take the part in the parent's family that came with this process's start."""
        if file.is_there():
            fd = file.fd
            file.forget()
            self._hold(mark, fd)
        else:  # a program has closed it
            self._join(mark)

    def _path(self, mark: str) -> str:
        return f"{_folder()}/{_HIDDEN}{mark}"

    def _join(self, mark: str, flags: int = 0) -> bool:
        """Share the lock of a family's file; return whether there is one, and its tracker has not seen its end."""
        try:
            fd = os.open(self._path(mark), os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
        except FileNotFoundError:
            if flags:  # the folder is not there
                raise
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                if flags:
                    write(fd, _about_us().ljust(_SIZE, b"\0"))
                self._hold(mark, fd)
                return True
        except BlockingIOError:  # it is being removed
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return False

    def _hold(self, mark: str, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._map(fd)
        self._file.take(fd)
        self._mark = mark

    def _found(self) -> None:
        """Begin a family."""
        while not self._join(os.urandom(_DIGITS).hex(), os.O_CREAT | os.O_EXCL):
            pass

    def _leave(self) -> None:
        self._mark = ""
        self._map(-1)
        self._file.close()

    def member(self) -> tuple[str, int] | None:
        """Return the mark and a descriptor for a child that is to be of the family; None if there is none yet."""
        if not self._mark:
            return None
        return self._mark, self._descriptor()

    def _descriptor(self) -> int:
        with HeldBack(), self._lock:
            if not self._file.is_there():  # a program has closed it: the lock is held by the mapping still
                fd = os.open(self._path(self._mark), os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
                fcntl.flock(fd, fcntl.LOCK_SH)
                self._file.take(fd)
            return self._file.fd

    # -- its tracker -----------------------------------------------------------------------------------------------

    @property
    def _fd(self) -> int | None:
        return self._own_fd if self._own_fd is not None or not self._mark else self._descriptor()

    @_fd.setter
    def _fd(self, fd: int | None) -> None:
        self._own_fd = fd

    def ensure_running(self) -> None:
        """Start the tracker unless one runs, ours or our family's."""
        with HeldBack(), self._lock:
            if self._check_alive():
                return
            if self._mark:
                text = "resource_tracker: process died unexpectedly, relaunching.  Some resources might leak."
                warnings.warn(text, stacklevel=3)
                self._reap()
            self._start()

    def _start(self) -> None:
        begun = not self._mark
        if begun:
            self._found()
        if getattr(sys, "frozen", False):
            return  # a frozen executable runs no program but its own: the user's next tracker removes what is left
        fd = alive = -1
        try:
            fd = os.open(self._path(self._mark), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            if not LINUX:
                alive = os.open(self._path(self._mark) + _BESIDE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not _lock_alive(fd, alive):
                return  # another process of the family was faster
            spec: Any = find_spec(_PROGRAM)
            source = spec.loader.get_source(_PROGRAM)
            places = f"LISTED, PROC = {SHM!r}, {PROC!r}"
            program = f"{source}\n{places}\nraise SystemExit(main({_folder()!r}, {self._mark!r}, {fd}))"
            beside = [] if alive < 0 else [alive]
            # It ends last: what would end it is blocked from its first instruction on.
            self._pid = spawn(command_line(program, without_site=not starter.is_replaced()), [fd, *beside], _BLOCKED)
        except BaseException:
            if begun:
                os.unlink(self._path(self._mark))
                self._leave()
            raise
        finally:
            close_quietly(fd, alive)

    def _check_alive(self) -> bool:
        """Return whether the family has a tracker."""
        if not self._mark:
            return False
        if getattr(sys, "frozen", False):
            return True
        alive = -1
        try:
            fd = os.open(self._path(self._mark), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:  # somebody has removed it
            self._leave()
            return False
        try:
            if not LINUX:
                alive = os.open(self._path(self._mark) + _BESIDE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            return not _is_free(fd, alive)
        finally:
            close_quietly(fd, alive)

    def _stop(self, use_blocking_lock: bool = True, wait_timeout: float | None = None) -> None:
        """Leave the family and wait for the tracker's end: what it watches is removed then. For tests."""
        turn = [*starmap(self._lock.acquire, ((use_blocking_lock,),))]
        try:
            self._leave()
            self._reap(wait_timeout)
        finally:
            if turn[0]:
                self._lock.release()

    def after_fork_in_child(self) -> None:
        """In a forked child: the tracker is the parent's child, and the lock is free."""
        self._lock = threading.RLock()
        self._pid = None
        self._exitcode = None

    # -- what it knows ---------------------------------------------------------------------------------------------

    def register(self, name: str, rtype: str, place: tuple[int, int] = (0, 0)) -> None:
        """Register a segment that is removed when its family has ended; `place` is its device and inode, zeros for any.

        Raises:
            OSError: no tracker can be started.
        """
        self.ensure_running()
        line_of("REGISTER", name, rtype)
        if self._own_fd is not None:
            self._send("REGISTER", name, rtype)
        elif rtype == _SHARED_MEMORY:
            self._untag("keep", name)
            self._tag(f"{place[0]:x}.{place[1]:x}", name)

    def unregister(self, name: str, rtype: str, place: tuple[int, int] = (0, 0)) -> None:
        """Report that a segment was removed, or is to stay; does nothing if it was not watched."""
        if self._own_fd is not None:
            self._send("UNREGISTER", name, rtype)
        elif not self._mark or rtype != _SHARED_MEMORY:
            return
        elif place != (0, 0):
            self._untag(f"{place[0]:x}.{place[1]:x}", name)
        else:
            begin, end = self._tag_of("", name)
            for tag in os.listdir(_folder()):
                if tag.startswith(begin) and tag.endswith(end):
                    self._remove_tag(tag, name)
            if name.startswith(PREFIX + self._mark):
                self._tag("keep", name)

    def _tag_of(self, what: str, name: str) -> tuple[str, str]:
        # The name itself may be too long for a part of another, and hold what a name of a file cannot.
        return f"{_HIDDEN}{self._mark}-{what}", f".{binascii.crc32(os.fsencode(name)):08x}"

    def _tag(self, what: str, name: str) -> None:
        begin, end = self._tag_of(what if "." in what else f"{what}.0", name)
        try:
            os.symlink(name, f"{_folder()}/{begin}{end}")
        except FileExistsError:  # it was told twice
            pass

    def _untag(self, what: str, name: str) -> None:
        begin, end = self._tag_of(what if "." in what else f"{what}.0", name)
        self._remove_tag(begin + end, name)

    def _remove_tag(self, tag: str, name: str) -> None:
        try:
            if os.readlink(f"{_folder()}/{tag}") == name:
                os.unlink(f"{_folder()}/{tag}")
        except OSError:  # it was never there, or somebody was faster
            pass


def _about_us() -> bytes:
    """Return the first line of a family's file: the namespace of pids, and the processes that we descend from."""
    try:
        words = [os.stat(f"{PROC}/self/ns/pid").st_ino]
    except OSError:
        words = [0]
    for pid in process_state.ancestors:
        if not LINUX:
            words += [pid, int(started_at(pid) or 0)]
            continue
        try:
            with open(f"{PROC}/{pid}/stat", "rb") as file:
                words += [pid, int(file.read().rpartition(b")")[2].split()[19])]
        except (OSError, IndexError, ValueError):  # it has ended
            pass
    return " ".join(map(str, words)).encode() + b"\n"


_BESIDE = "-alive"  # a file beside the family's that its tracker has locked, where a byte of that cannot be

# A lock that belongs to an open file: it is given up when its last descriptor and mapping are gone (fcntl(2)).
_SET, _GET = getattr(fcntl, "F_OFD_SETLK", 37), getattr(fcntl, "F_OFD_GETLK", 36)
_BLOCKED = (2, 15, 1)  # SIGINT, SIGTERM, SIGHUP
_LOOKS = 5
_UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


def _byte(kind: int) -> bytes:
    return struct.pack("hhqqi4x", kind, 0, _ALIVE, 1, 0)


def _lock_alive(fd: int, beside: int) -> bool:
    if beside >= 0:
        return _flock(beside, fcntl.LOCK_EX)
    try:
        fcntl.fcntl(fd, _SET, _byte(fcntl.F_WRLCK))
    except (BlockingIOError, PermissionError):
        return False
    return True


def _flock(fd: int, kind: int) -> bool:
    """Lock a whole file; return False if another process has it, if only for a moment to look."""
    for _ in range(_LOOKS):
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            pause(0.001)
    return False


def _is_free(fd: int, beside: int) -> bool:
    if beside >= 0:
        return _flock(beside, fcntl.LOCK_SH)
    answer: bytes = fcntl.fcntl(fd, _GET, _byte(fcntl.F_WRLCK))
    return bool(struct.unpack("hhqqi4x", answer)[0] == fcntl.F_UNLCK)


def another() -> FamilyTracker:
    """Begin a family of this process alone, and of what it forks, with a tracker of its own."""
    begun = FamilyTracker()
    os.register_at_fork(after_in_child=begun.after_fork_in_child)
    return begun


tracker = FamilyTracker(process_state.tracker)
ResourceTracker._another = staticmethod(another)

# Programs take a kind out of it. The tracker is another process, as in the standard library: that changes nothing.
_CLEANUP_FUNCS: dict[str, Callable[..., object]] = {"noop": lambda: None, "shared_memory": _posixshmem.shm_unlink}
os.register_at_fork(after_in_child=tracker.after_fork_in_child)
ensure_running: Final = tracker.ensure_running
register: Final = tracker.register
unregister: Final = tracker.unregister
getfd: Final = tracker.getfd
