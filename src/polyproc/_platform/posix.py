"""Facilities of every POSIX system, and the few of Linux that need no file of their own.

A new child loads this, so it imports next to nothing.
"""

from __future__ import annotations

import sys
from _thread import RLock, get_ident
from itertools import starmap

from polyproc._base.modules import PLATFORM, load, loaded, os, variable

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Result = TypeVar("Result")

IS_WINDOWS = sys.platform == "win32"
IS_MACOS = sys.platform == "darwin"
# Whether what Linux alone has may be used. What is asked below is whether each thing is there; this takes them away.
LINUX = sys.platform == "linux" and variable(PLATFORM) != "posix"

HAVE_FORK = hasattr(os, "fork") and not IS_WINDOWS

# Where Linux tells of processes, and has segments of shared memory as files. Elsewhere nothing is there.
PROC = "/proc" if LINUX else "/polyproc-has-no/proc"
SHM = "/dev/shm" if LINUX else "/polyproc-has-no/shm"
CGROUPS = "/sys/fs/cgroup" if LINUX else "/polyproc-has-no/cgroup"

# What says that a system call is not to be had here: a container's filter, or a setting; an old kernel, or such a
# filter; a file system without it.
_REFUSALS = ("EPERM", "EACCES", "ENOSYS", "EOPNOTSUPP", "ENOTSUP")
_NO_TMPFILE = ("EISDIR", "EINVAL", "EOPNOTSUPP")  # a kernel or a file system that does not know it


def has(module: Any, name: str) -> bool:
    """Return whether a module has what Linux alone has, and it may be used."""
    return LINUX and hasattr(module, name)


def is_one_of(error: OSError, names: tuple[str, ...]) -> bool:
    """Return whether an error is one of these; each system has numbers of its own for them."""
    names_of: Any = load("errno", "errorcode")
    known: Any = load("errno", "ENOTSUP")
    return names_of.get(error.errno) in names or (error.errno == known and "ENOTSUP" in names)


class Capability:
    """A system call that may be refused. The other way is where it is used.

    Attributes:
        may_work: whether it was not refused yet.
        has_worked: whether it was tried, and not refused since.
        refused_by: the errno of the refusal, or 0.
    """

    __slots__ = ("call", "has_worked", "may_work", "refused_by")

    def __init__(self, call: str, is_there: bool) -> None:
        self.call = call
        self.may_work, self.has_worked = is_there, False
        self.refused_by = 0 if is_there else _NOT_THERE

    def note(self, error: OSError) -> None:
        """Take note that it was refused, for good; raise an error that says something else."""
        if not is_one_of(error, _REFUSALS):
            raise error
        self.may_work = self.has_worked = False
        self.refused_by = error.errno or _NOT_THERE


_NOT_THERE = 38  # ENOSYS, on Linux, where alone it is told of

memfd = Capability("memfd_create", has(os, "memfd_create"))

reserves = Capability("posix_fallocate", has(os, "posix_fallocate"))
waitid = Capability("waitid", has(os, "waitid"))

have_abstract_sockets = LINUX  # unix(7)


def tells_of_processes() -> bool:
    """Return whether there is a /proc (proc(5)) by which descriptors of other processes are found and opened."""
    if not _told:
        _told.append(LINUX and os.access(f"{PROC}/self/fd", os.F_OK))
    return _told[0]


_told: list[bool] = []


def start_methods() -> list[str]:
    """Return the start methods of this system, the default one first."""
    if not HAVE_FORK:
        return ["spawn"]
    if IS_MACOS:
        return ["spawn", "fork", "forkserver"]
    if sys.version_info >= (3, 14):
        return ["forkserver", "fork", "spawn"]
    return ["fork", "spawn", "forkserver"]


class Forks:
    """Tells the children that this library forks from those that others fork: these let go of what is for ours alone.

    One instance, `forks`.
    """

    __slots__ = ("_ours", "let_go")

    def __init__(self) -> None:
        self._ours: set[int] = set()  # the threads that are making a child of ours
        self.let_go: list[Callable[[], None]] = []

    def in_others(self, let_go: Callable[[], None]) -> None:
        """Call `let_go` in each child that others fork."""
        if not self.let_go:
            os.register_at_fork(after_in_child=self._after_fork_in_child)
        self.let_go.append(let_go)

    def own(self, fork: Callable[[], Result]) -> Result:
        """Call `fork`, which makes a child of ours; return what it returns."""
        if not self.let_go:
            return fork()
        thread = get_ident()
        self._ours.add(thread)
        try:
            return fork()
        finally:
            self._ours.discard(thread)

    def _after_fork_in_child(self) -> None:
        thread = get_ident()
        is_ours = thread in self._ours
        self._ours = {thread} if is_ours else set()
        if not is_ours:
            for let_go in self.let_go:
                let_go()


forks = Forks()


class Quiet:
    """Forks without what the interpreter says of other threads (3.12 and later). One instance, `quiet`.

    Filters of warnings are the whole process's: threads that fork at once would restore each other's.
    """

    __slots__ = ("_is_told", "_lock")

    def __init__(self) -> None:
        self._lock = RLock()
        self._is_told = False  # that others fork

    def fork(self, os_fork: Callable[[], int], warnings: Any) -> int:
        """Fork a child of ours, whatever the filters say."""
        if not self._is_told:
            self._is_told = True
            os.register_at_fork(after_in_child=self._renew)
        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return forks.own(os_fork)

    def _renew(self) -> None:
        """Replace the lock by a free one: a child that another thread has forked meanwhile would wait for ever."""
        self._lock = RLock()


quiet = Quiet()


def noting(fork: Callable[[], Result], made: list[Result]) -> Callable[[], Result]:
    """Return a fork whose result is in `made` from the first moment: a Ctrl-C may come as it is returned.

    A mask keeps none off where there are other threads: the interpreter hears a signal by any of them.
    """

    def fork_and_note() -> Result:
        made.extend(starmap(fork, ((),)))
        return made[0]

    return fork_and_note


def fork(made: list[int] | None = None) -> int:
    """Fork a child of ours, without what the interpreter says of other threads: 3.15 says it when the child is there.

    Where warnings are errors, the child would be nobody's. Of the threads that Python knows the caller has told before.
    What is returned is put into `made`, too: see `noting`.
    """
    from os import fork as os_fork  # each time: gevent replaces it

    warnings: Any = loaded("warnings") if sys.version_info >= (3, 15) else None
    act = os_fork if made is None else noting(os_fork, made)
    return forks.own(act) if warnings is None else quiet.fork(act, warnings)


def anonymous_file(name: str) -> int:
    """Make an empty file without a name, close-on-exec; return its descriptor.

    A memfd (memfd_create(2)) on Linux: it is gone with its last descriptor, whatever way its holders end. Where that is
    refused, a file without a name in a file system.
    """
    if memfd.may_work:
        try:
            fd = os.memfd_create(name)
            memfd.has_worked = True
            return fd
        except OSError as error:
            memfd.note(error)
    return _unnamed_file()


def anonymous_memory(name: str, size: int) -> int:
    """Make an anonymous file of `size` zero bytes, to be mapped; return its descriptor.

    In a file system its memory is reserved: where that is full this fails, not a later access.
    """
    fd = anonymous_file(name)
    try:
        os.ftruncate(fd, size)
        if not memfd.may_work:
            _reserve(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def mapped(fd: int, size: int) -> Any:
    """Map a file, to be read and written, shared with all that have it."""
    return load("mmap", "mmap")(fd, size)  # type: ignore[operator]


def file_with(name: str, data: bytes) -> int:
    """Make an anonymous file that holds `data`; return its descriptor."""
    fd = anonymous_file(name)
    try:
        pwrite_all(fd, data, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _unnamed_file() -> int:
    """Make a file that never had a name, or has it for an instant; in memory where there is such a file system."""
    for directory in (SHM, temporary_folder()):
        try:
            return _file_in(directory)
        except OSError:  # not there, or full
            pass
    return _file_in("/tmp")


def _file_in(directory: str) -> int:
    if has(os, "O_TMPFILE"):
        try:
            return os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if not is_one_of(error, _NO_TMPFILE):
                raise
    path = f"{directory}/polyproc-{os.getpid()}-{os.urandom(8).hex()}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return fd


def _reserve(fd: int, size: int) -> None:
    """Reserve the memory of an empty file, where the file system can; raise ENOSPC where it is full."""
    if reserves.may_work:
        try:
            os.posix_fallocate(fd, 0, size)
            return
        except OSError as error:
            if not is_one_of(error, (*_REFUSALS, "EINVAL")):  # a file system that cannot promise
                raise
    try:
        room: Any = load("os", "fstatvfs")(fd)  # type: ignore[operator]
    except OSError:  # nobody tells
        return
    if size > room.f_bavail * room.f_frsize:  # it may fill up later: nothing says so but the signal
        raise OSError(load("errno", "ENOSPC"), load("os", "strerror")(load("errno", "ENOSPC")))  # type: ignore[operator]


_AT_ONCE = 1 << 30  # bytes of one call: more than an int holds, and macOS refuses it


def pwrite_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write the whole of `data` at `offset`."""
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view[:_AT_ONCE], offset)
        view = view[count:]
        offset += count


def pread_all(fd: int, length: int, offset: int) -> bytes:
    """Read `length` bytes at `offset`; fewer only at the end of the file."""
    pieces = []
    while length > 0:
        piece = os.pread(fd, min(length, _AT_ONCE), offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces)


class LongLived:
    """A descriptor that this process keeps for long.

    A program may close all descriptors and go on, as daemons do; the number is another file's then, which is not ours
    to use, write to or close. So it is known by what it is, its device and inode, and looked at before each use.
    """

    __slots__ = ("fd", "what")

    # Each start makes two and closes them. After a fork a function that is called costs two or three page faults, so
    # these call few.

    def __init__(self, fd: int = -1) -> None:
        self.fd = fd
        self.what = _what_is(fd) if fd >= 0 else None

    def take(self, fd: int) -> None:
        """Keep a descriptor, in place of the one before, which is closed."""
        self.close()
        self.fd = fd
        self.what = _what_is(fd)

    def is_there(self) -> bool:
        """Return whether it is still what was taken."""
        return self.what is not None and _what_is(self.fd) == self.what

    def close(self) -> None:
        """Close it, if it is still there."""
        fd = self.fd
        is_there = self.what is not None and _what_is(fd) == self.what
        if self.fd == fd:
            self.fd, self.what = -1, None  # it is this thread's to close: a Ctrl-C comes before, or when that is done
            if is_there:
                try:
                    os.close(fd)
                except OSError:  # another thread was faster
                    pass

    def forget(self) -> None:
        """Give the descriptor up without closing it."""
        self.fd, self.what = -1, None


class OwnFile(LongLived):
    """A long-lived descriptor that is closed with the last reference to it: a user of its number keeps one."""

    __slots__ = ()

    def __del__(self) -> None:
        if globals().get("_what_is") is not None:  # else the interpreter has taken this module apart: it is at its end
            self.close()


def _what_is(fd: int) -> tuple[int, ...] | None:
    try:
        return os.fstat(fd)[1:3]  # inode and device
    except OSError:
        return None


_folders: dict[str, str] = {}  # what TMPDIR says -> where files can be made


def temporary_folder() -> str:
    """Return where files are that nobody keeps: what TMPDIR says, or /tmp where no file can be made there."""
    environ: Any = load("os", "environ")
    named = str(environ.get("TMPDIR", "/tmp"))
    if named == "/tmp":
        return named
    if named not in _folders:
        try:
            os.close(_file_in(named))
            _folders[named] = named
        except OSError:
            _folders[named] = "/tmp"
    return _folders[named]


def close_on_exec(*fds: int) -> None:
    """Mark descriptors that were received where the system does not do so as it gives them."""
    for fd in fds:
        os.set_inheritable(fd, False)


def close_quietly(*fds: int) -> None:
    """Close descriptors; negative numbers and ones closed already are passed over."""
    for fd in fds:
        if fd >= 0:
            try:
                os.close(fd)
            except OSError:  # closed by somebody else: there is nothing left to give back
                pass
