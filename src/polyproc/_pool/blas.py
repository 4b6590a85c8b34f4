"""How many threads the numerical libraries of a worker use: its share of the processors, unless the user said.

OpenBLAS, MKL and OpenMP take one thread for each processor, in each process: workers would get into each other's way.
They read an environment variable when they are loaded. A worker that has them loaded already, as it was forked from a
process that has, is told by threadpoolctl, if that is installed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from polyproc._lazy import load, loaded
from polyproc._platform.interpreter import added_environment

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


def environment_of_worker(threads: int | None) -> added_environment:
    """Have processes that are started meanwhile, by this thread, find the variables when they begin."""
    if threads is None:
        return added_environment({})
    if any(name in sys.modules for name in _USERS):
        try:
            load("threadpoolctl", "threadpool_limits")  # a forked worker has it, then
        except ImportError:
            pass
    return added_environment({name: str(threads) for name in VARIABLES})


def limit_threads(threads: int | None) -> None:
    """In a worker: set the variables, for what it loads and starts, and limit what it has loaded."""
    if threads is None:
        return
    for name in VARIABLES:
        os.environ.setdefault(name, str(threads))
    module: Any = loaded("threadpoolctl")
    if module is not None:
        module.threadpool_limits(threads)
