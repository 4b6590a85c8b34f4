"""Processors, environment and all else that a process inherits from the one that starts it; the one list of it.

A child that was made ahead, or that another process makes, has what there was then. So its client compares, and starts
anew what was started under other circumstances. The working directory and the environment go with each job.
"""

from __future__ import annotations

import _signal
import os
import sys
from _contextvars import ContextVar  # `contextvars` would be a file to load, in each program

from polyproc._base.modules import load, loaded
from polyproc._base.typing import Any, Callable
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
    data = own_environ()
    added = _added.get()
    return data if added is None else {**added, **data}


def own_environ() -> dict[bytes, bytes]:
    """Return it without what `added_environment` adds for this thread."""
    data: dict[bytes, bytes] = os.environb._data  # type: ignore[attr-defined]
    return data


def changes_since(before: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    """Return what has changed in the environment since it was `before`: names with values, None for what is gone."""
    now = environ()
    changes: dict[bytes, bytes | None] = {name: value for name, value in now.items() if before.get(name) != value}
    changes.update((name, None) for name in before if name not in now)
    return changes


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
            os.getpgrp(),
            _of(lambda: os.getsid(0)),
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


# How many threads the numerical libraries of a worker use: its share of the processors, unless the user said.
#
# OpenBLAS, MKL and OpenMP take one thread for each processor, in each process: workers would get into each other's way.
# They read an environment variable when they are loaded. Those that are loaded already are told by threadpoolctl, if
# that is installed: the parent looks for them before it forks, the worker tells them.
#
# OpenBLAS stops its threads at a fork, and starts them again when it is told a number; they then spin for a while, on
# the processors of those that work. So its number is written where it keeps it, and where it is read at each call:
# `blas_cpu_number` (driver/others/blas_server.c of OpenBLAS).

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_USERS = ("numpy", "scipy", "torch")


def share_of(processors: int, workers: int) -> int | None:
    """Return how many threads each worker should use; None when that is the user's to say, or all."""
    if workers < 2 or any(name in os.environ for name in VARIABLES):
        return None
    return max(processors // workers, 1)


class Libraries:
    """The numerical libraries that this process has loaded. One instance, `libraries`; a forked child has it, too."""

    def __init__(self) -> None:
        self._found: list[Any] | None = None
        self._modules = 0  # how many were loaded when they were looked for

    def find(self) -> None:
        """Look for them, unless that was done and nothing has been loaded since."""
        if self._modules == len(sys.modules) or not any(name in sys.modules for name in _USERS):
            return
        try:
            controller: Any = load("threadpoolctl", "ThreadpoolController")
            self._found = [_Library(found) for found in controller().lib_controllers]
        except (ImportError, AttributeError):  # it is not installed, or too old
            pass
        self._modules = len(sys.modules)

    def limit(self, threads: int) -> None:
        """Set the number of threads that they use."""
        if self._found is None and loaded("threadpoolctl") is not None:
            self.find()
        for library in self._found or ():
            library.limit(threads)


libraries = Libraries()


class _Library:
    """A library that has threads of its own."""

    def __init__(self, found: Any) -> None:
        self._found = found
        self._number: Any = None
        if found.internal_api == "openblas":
            try:
                number = load("ctypes", "c_int").in_dll(found.dynlib, "blas_cpu_number")  # type: ignore[attr-defined]
            except (AttributeError, ValueError):  # another OpenBLAS than we know
                return
            if number.value == found.num_threads:
                self._number = number

    def limit(self, threads: int) -> None:
        """Set the number of threads that it uses."""
        if self._number is not None:
            self._number.value = threads
        else:
            self._found.set_num_threads(threads)


def environment_of_worker(threads: int | None) -> added_environment:
    """Set the variables in the environment of processes that this thread starts meanwhile."""
    if threads is None:
        return added_environment({})
    libraries.find()  # a forked worker has them, then
    return added_environment(dict.fromkeys(VARIABLES, str(threads)))


def limit_threads(threads: int | None) -> None:
    """In a worker: set the variables, for what it loads and starts, and limit what it has loaded."""
    if threads is not None:
        for name in VARIABLES:
            os.environ.setdefault(name, str(threads))
        libraries.limit(threads)
