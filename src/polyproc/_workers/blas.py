"""How many threads the numerical libraries of a worker use: its share of the processors, unless the user said.

OpenBLAS, MKL and OpenMP take one thread for each processor, in each process: workers would get into each other's way.
They read an environment variable when they are loaded. Those that are loaded already are told by threadpoolctl, if that
is installed: the parent looks for them before it forks, the worker tells them.

OpenBLAS stops its threads at a fork, and starts them again when it is told a number; they then spin for a while, on the
processors of those that work. So its number is written where it keeps it, and where it is read at each call:
`blas_cpu_number` (driver/others/blas_server.c of OpenBLAS).
"""

from __future__ import annotations

import os
import sys

from polyproc._lazy import load, loaded
from polyproc._platform.interpreter import added_environment
from polyproc._typing import Any

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
    """One of them."""

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
