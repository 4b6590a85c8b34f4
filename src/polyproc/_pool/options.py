"""What a call may ask for beside its function and arguments, and what a pool may."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypedDict

from polyproc._errors import ProcessDied, TimeoutError
from polyproc._lazy import load
from polyproc._process.bootstrap import MainReached
from polyproc._process.family import family
from polyproc._process.kinds import ForkProcess, Process
from polyproc._process.process import BaseProcess
from polyproc._scheduling.tasks import ResolvedOptions
from polyproc._workers.worker_set import PoolConfig

Memory = int | str
ProgressCallback = Callable[[int, int | None], object]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_MEMORY = r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*"  # compiled when somebody needs it: most pools do not


class CallOptions(TypedDict, total=False):
    """Options of a call; each may be left out.

    timeout: seconds that one call (or chunk) may run. Then `polyproc.TimeoutError` is raised in it; if it has not ended
        `grace` seconds later, its worker and that one's children are killed, and the caller gets the TimeoutError.
    grace: seconds between the two, also when a running call is cancelled; 1 unless given.
    retries: how often a call is run again when it fails by one of `retry_on`; 0 unless given.
    retry_on: an exception or a tuple of them; ProcessDied unless given.
    priority: calls with a higher number go first, among those that no worker has yet; 0 unless given.
    progress: True for a bar (tqdm, or rich), or a function that is called with how many are done and of how many.
    """

    timeout: float | None
    grace: float
    retries: int
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    priority: int
    progress: bool | ProgressCallback


def resolved(base: ResolvedOptions, options: CallOptions) -> ResolvedOptions:
    """Return `base` but for what `options` says. Raises TypeError and ValueError."""
    unknown = set(options) - CallOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"options() got an unexpected keyword argument {min(unknown)!r}")
    found = base._replace(**options)
    if found.timeout is not None and not found.timeout > 0:
        raise ValueError("timeout must be a positive number of seconds or None")
    if not found.grace >= 0:
        raise ValueError("grace must be a number of seconds, zero or more")
    for name in ("retries", "priority"):
        if not isinstance(getattr(found, name), int):
            raise TypeError(f"{name} must be an integer")
    if found.retries < 0:
        raise ValueError("retries must be zero or more")
    kinds = found.retry_on if isinstance(found.retry_on, tuple) else (found.retry_on,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise TypeError("retry_on must be an exception class or a tuple of them")
    if not isinstance(found.progress, bool) and not callable(found.progress):
        raise TypeError("progress must be a bool or a callable")
    return found._replace(retries_timeouts=any(issubclass(TimeoutError, kind) for kind in kinds))


DEFAULT_OPTIONS = ResolvedOptions(retry_on=ProcessDied)


def make_config(  # noqa: PLR0913  (one for each attribute)
    context: Any,
    size: int,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    max_tasks: int | None,
    max_memory: Memory | None,
    idle_timeout: float | None,
    *,
    is_executors: bool = False,
) -> PoolConfig:
    """Check what a user asked for. Raises TypeError and ValueError.

    In a child that imports an unguarded main module, the import ends here.
    """
    if family.importing_main:
        raise MainReached
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if idle_timeout is not None and not idle_timeout >= 0:
        raise ValueError("idle_timeout must be a number of seconds, zero or more, or None")
    most = None if max_memory is None else bytes_of(max_memory)
    process = Process if context is None else context.Process
    if not issubclass(process, BaseProcess):
        raise TypeError(f"not a context of polyproc: {context!r}; use polyproc.get_context()")
    return PoolConfig(
        process,
        size,
        initializer,
        tuple(initargs),
        max_tasks,
        most,
        idle_timeout,
        is_executors or idle_timeout is not None,
        is_executors,
        _forks(process),
    )


def _forks(process: type[BaseProcess[Any]]) -> bool:
    if process is Process:
        return bool(load("polyproc._context.default", "default_context").get_start_method() == "fork")  # type: ignore[attr-defined]
    return process is ForkProcess


def bytes_of(memory: Memory) -> int:
    """Return a number of bytes; a string may have a unit: "500MB" (10**6), "2GiB" (2**30). Raises ValueError."""
    if isinstance(memory, int):
        size = memory
    else:
        found = re.fullmatch(_MEMORY, memory, re.IGNORECASE)
        if found is None:
            raise ValueError(f"not an amount of memory: {memory!r}; say a number of bytes, or for example '500MB'")
        size = int(float(found[1]) * _UNITS[(found[2] or "").lower()])
    if size <= 0:
        raise ValueError("an amount of memory must be positive")
    return size
