"""What a contender does: wait for its turn, measure, tell."""

from __future__ import annotations

import gc
import os
import sys
import time
import warnings
from importlib import import_module
from typing import Any

from targets import nothing


def context_of(library: str, method: str) -> Any:
    """Return the context of a library; the word after a colon opts into a spare."""
    if library == "loky":
        return import_module("loky.backend").get_context("loky")
    name, _, spare = library.partition(":")
    module = import_module(name)
    return module.get_context(method, preload=[]) if spare else module.get_context(method)


def start_and_join(context: Any) -> None:
    """Run a process that does nothing."""
    process = context.Process(target=nothing)
    process.start()
    process.join()


def bare_fork() -> None:
    """The floor of fork."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def serve() -> None:
    """Answer each line with a time."""
    library, method, mebibytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
    warnings.simplefilter("ignore")
    ballast = bytearray(mebibytes << 20)
    for page in range(0, len(ballast), 4096):
        ballast[page] = 1
    context = None if library == "floor" else context_of(library, method)
    for _ in range(2):
        bare_fork() if context is None else start_and_join(context)
    gc.collect()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        if context is None:
            bare_fork()
        else:
            start_and_join(context)
        print(time.perf_counter() - start, flush=True)
