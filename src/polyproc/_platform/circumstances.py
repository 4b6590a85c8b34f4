"""What a process inherits from who starts it, and may change later: the one list of it.

A child that was made ahead, or that another process makes, would have what was then. So its client compares, and starts
anew what was started under other circumstances. The working directory and the environment go with each job.
"""

from __future__ import annotations

import _signal
import os

from polyproc._base.typing import Callable
from polyproc._platform.posix import IS_WINDOWS, PROC, LongLived, tells_of_processes, temporary_folder

if not IS_WINDOWS:  # where this is never asked, though loaded with what is public
    import resource

    _LIMITS = tuple(sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}))
# What only /proc/self/status tells.
_LINES = (b"\nUmask:", b"\nNoNewPrivs:", b"\nSeccomp:", b"\nSigIgn:")


class Circumstances:
    """What a process inherits that is started now."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        # Open as long as they are compared with: to open a file of /proc costs more than all else here.
        self._files = [LongLived(_open(f"{PROC}/self/{name}")) for name in ("status", "oom_score_adj")]
        self._then = self._now()

    def are_the_same(self) -> bool:
        """Return whether one started now would inherit the same."""
        return self._pid == os.getpid() and self._then == self._now()

    def close(self) -> None:
        """Give back what it takes to compare."""
        for file in self._files:
            file.close()

    def _now(self) -> tuple[object, ...]:
        status, oom_score = map(_read, self._files)
        starts = [status.find(line) for line in _LINES]
        lines = [status[start : status.find(b"\n", start + 1)] for start in starts if start >= 0]
        return (
            lines if tells_of_processes() else (_of(_mask_of_files), _ignored()),
            oom_score,
            _of(lambda: os.getresuid()) or (os.getuid(), os.geteuid()),
            _of(lambda: os.getresgid()) or (os.getgid(), os.getegid()),
            os.getgroups(),
            _of(lambda: [resource.getrlimit(limit) for limit in _LIMITS]),
            _of(lambda: os.sched_getaffinity(0)),
            _of(lambda: (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)),
            _of(lambda: os.getpriority(os.PRIO_PROCESS, 0)),
            _signal.pthread_sigmask(_signal.SIG_BLOCK, ()),
            _of(lambda: _stream(1)),
            _of(lambda: _stream(2)),
        )


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # no /proc: the rest is compared
        return -1


def _read(file: LongLived) -> bytes:
    if file.fd < 0:
        return b""
    try:
        return os.pread(file.fd, 1 << 13, 0) if file.is_there() else b"closed"  # by this program
    except OSError:
        return b"closed"


def _mask_of_files() -> int:
    """Return what the umask leaves of a file's mode; to ask for the umask itself is to change it, for all threads."""
    path = f"{temporary_folder()}/polyproc-{os.getpid()}-{os.urandom(8).hex()}"
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o777)
    try:
        os.unlink(path)
        return os.fstat(fd).st_mode
    finally:
        os.close(fd)


def _ignored() -> list[int]:
    return [number for number in range(1, _signal.NSIG) if _of(lambda: _signal.getsignal(number)) == _signal.SIG_IGN]  # noqa: B023


def _stream(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return info.st_dev, info.st_ino


def _of(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except (OSError, AttributeError):  # closed, refused, or there is no such thing here
        return None
