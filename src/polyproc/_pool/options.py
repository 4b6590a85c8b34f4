"""What a call may ask for beside its function and arguments, and what a pool may."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypedDict

from polyproc._errors import ProcessDied
from polyproc._lazy import load
from polyproc._process.bootstrap import MainReached
from polyproc._process.family import family
from polyproc._process.kinds import ForkProcess, Process
from polyproc._process.process import BaseProcess

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


class Terms(NamedTuple):
    """The same, checked and complete."""

    timeout: float | None = None
    grace: float = 1.0
    retries: int = 0
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = ProcessDied
    priority: int = 0
    progress: bool | ProgressCallback = False

    @property
    def are_for_one(self) -> bool:
        """Whether each call has to travel alone."""
        return self.timeout is not None or self.retries > 0

    def with_(self, options: CallOptions) -> Terms:
        """Return these terms but for what `options` says. Raises TypeError and ValueError."""
        unknown = set(options) - CallOptions.__annotations__.keys()
        if unknown:
            raise TypeError(f"options() got an unexpected keyword argument {min(unknown)!r}")
        terms = self._replace(**options)
        if terms.timeout is not None and not terms.timeout > 0:
            raise ValueError("timeout must be a positive number of seconds or None")
        if not terms.grace >= 0:
            raise ValueError("grace must be a number of seconds, zero or more")
        for name in ("retries", "priority"):
            if not isinstance(getattr(terms, name), int):
                raise TypeError(f"{name} must be an integer")
        if terms.retries < 0:
            raise ValueError("retries must be zero or more")
        kinds = terms.retry_on if isinstance(terms.retry_on, tuple) else (terms.retry_on,)
        if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
            raise TypeError("retry_on must be an exception class or a tuple of them")
        if not isinstance(terms.progress, bool) and not callable(terms.progress):
            raise TypeError("progress must be a bool or a callable")
        return terms


PLAIN = Terms()


class Plan(NamedTuple):
    """What a pool of processes is to be.

    Attributes:
        process: the class of the workers.
        size: how many workers there are, at most.
        initializer: what each worker calls first; a generator function's first part.
        initargs: its arguments.
        maxtasks: after how many tasks a worker is replaced; None for never.
        most_memory: above how many resident bytes a worker is replaced after its task; None for never.
        idle_timeout: after how many seconds without work a worker ends; None for never.
        on_demand: whether workers are started when there is work for them, and not before.
        is_executors: whether it is an executor's, which tells some errors differently.
    """

    process: type[BaseProcess[Any]]
    size: int
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    maxtasks: int | None = None
    most_memory: int | None = None
    idle_timeout: float | None = None
    on_demand: bool = False
    is_executors: bool = False

    @property
    def forks(self) -> bool:
        """Whether workers are started by our fork: a subclass may have a launcher of its own."""
        if self.process is Process:
            return bool(load("polyproc._context.default", "default_context").get_start_method() == "fork")  # type: ignore[attr-defined]
        return self.process is ForkProcess

    @property
    def starts_together(self) -> bool:
        """Whether all workers start at the first call, as an executor's do by fork: threads come with more calls."""
        return self.is_executors and self.idle_timeout is None and self.forks


def make_plan(  # noqa: PLR0913  (one for each attribute)
    context: Any,
    size: int,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    maxtasks: int | None,
    max_memory: Memory | None,
    idle_timeout: float | None,
    *,
    is_executors: bool = False,
) -> Plan:
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
    on_demand = is_executors or idle_timeout is not None
    return Plan(process, size, initializer, tuple(initargs), maxtasks, most, idle_timeout, on_demand, is_executors)


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
