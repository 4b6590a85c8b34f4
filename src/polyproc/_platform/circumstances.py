"""Processors, environment and all else that a process inherits from the one that starts it; the one list of it.

A child that was made ahead, or that another process makes, has what there was then. So its client compares, and starts
anew what was started under other circumstances. The working directory and the environment go with each job.
"""

from __future__ import annotations

import _signal
import os
from contextvars import ContextVar

from polyproc._base.typing import Callable
from polyproc._platform.posix import LINUX, PROC, LongLived, tells_of_processes, temporary_folder

# What only /proc/self/status tells.
_LINES = (b"\nUmask:", b"\nNoNewPrivs:", b"\nSeccomp:", b"\nSigIgn:")
_C_LIBRARYS = 1 << 31 | 1 << 32  # signals 32 and 33: ignored by what it spawns, until that has a thread


def usable_processors() -> int:
    """Return how many processors this process may use."""
    return len(affinity()) or os.cpu_count() or 1


def affinity() -> set[int]:
    """Return the processors that this process may use; none where the system does not tell."""
    try:
        return os.sched_getaffinity(0) if LINUX else set()
    except (AttributeError, OSError):  # another system, or a filter
        return set()


def environ() -> dict[bytes, bytes]:
    """Return the environment as it is now, not to be changed.

    os.environ itself decodes and encodes each variable when it is copied, compared or passed on: a tenth of a start.
    """
    data: dict[bytes, bytes] = os.environb._data  # type: ignore[attr-defined]
    added = _added.get()
    return data if added is None else {**added, **data}


_added: ContextVar[dict[bytes, bytes] | None] = ContextVar("polyproc_added_environment", default=None)


def added_variables() -> dict[str, str]:
    """Return what `added_environment` adds for this thread."""
    return {os.fsdecode(name): os.fsdecode(value) for name, value in (_added.get() or {}).items()}


class added_environment:
    """A context in which the processes that this thread starts find more variables; those of ours win."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}

    def __enter__(self) -> None:
        self._token = _added.set(self._variables)

    def __exit__(self, *exc: object) -> None:
        _added.reset(self._token)


class Circumstances:
    """All that a process would inherit that is started now."""

    def __init__(self) -> None:
        import resource  # Windows has none, and loads this module for the environment alone

        self._pid = os.getpid()
        self._limit_of = resource.getrlimit
        self._limits = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
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
            _without_librarys(lines) if tells_of_processes() else (_of(_mask_of_files), _ignored()),
            oom_score,
            _of(lambda: os.getresuid()) or (os.getuid(), os.geteuid()),
            _of(lambda: os.getresgid()) or (os.getgid(), os.getegid()),
            os.getgroups(),
            _of(lambda: [self._limit_of(limit) for limit in self._limits]),
            _of(lambda: os.sched_getaffinity(0)),
            _of(lambda: (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)),
            _of(lambda: os.getpriority(os.PRIO_PROCESS, 0)),
            _signal.pthread_sigmask(_signal.SIG_BLOCK, ()),
            _of(lambda: _stream(1)),
            _of(lambda: _stream(2)),
        )


def _without_librarys(lines: list[bytes]) -> list[object]:
    """Return lines of /proc/self/status without the signals that the C library has for itself."""
    if not lines or not lines[-1].startswith(_LINES[-1]):
        return [*lines]
    return [*lines[:-1], int(lines[-1].rpartition(b"\t")[2], 16) & ~_C_LIBRARYS]


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
