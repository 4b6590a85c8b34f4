"""What all pools and executors have in common: jobs; and beyond the standard library submit, options, resize, stats."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from polyproc._lazy import load, said
from polyproc._pool.options import DEFAULT_OPTIONS, CallOptions, resolved
from polyproc._scheduling.assignments import ResolvedOptions
from polyproc._scheduling.call_events import PoolStats

if TYPE_CHECKING:
    from typing import Unpack

    from polyproc._aio.loops import Bell
    from polyproc._pool.future import Future
    from polyproc._pool.progress import Progress
    from polyproc._workers.process_engine import ProcessPoolEngine
    from polyproc._workers.thread_engine import ThreadPoolEngine

P = ParamSpec("P")
T = TypeVar("T")


class Job:
    """A number of tasks that were asked for together. The pool's thread settles them, callers wait.

    `progress` is told of each chunk that is done.
    """

    progress: Progress | None = None
    keeps: Any = None  # the pool, until it is done
    _bells: tuple[Bell, ...] = ()

    def _tell(self, bell: Bell) -> None:
        """Have a bell rung at each change from now on."""
        self._bells = (*self._bells, bell)

    def _tell_no_more(self, bell: Bell) -> None:
        """Have it rung no more."""
        self._bells = tuple(other for other in self._bells if other is not bell)

    def _ring(self) -> None:
        for bell in self._bells:
            bell.ring()

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result of a task; return whether it was the job's last."""
        raise NotImplementedError


class Calls:
    """An engine, and the options of the calls that are made through this object."""

    _engine: ProcessPoolEngine | ThreadPoolEngine
    _options: ResolvedOptions = DEFAULT_OPTIONS
    _future_type: Any = None
    _whole: Any = None  # of a view: what it is a view of, which has to live as long

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn(*args, **kwargs)` called in a worker; return its future at once.

        Raises:
            ValueError: the pool takes no more calls.
            Exception: what pickling the function or the arguments raised.
        """
        if not callable(fn):
            raise said("no_function", fn, "submit", "submit(a_function, an_argument)")
        make = self._future_type or self._load_future()
        future: Future[T] = make()
        options = self._options
        if options.progress:
            future.progress = progress_of(options, 1)
        future.keeps = self._whole or self
        engine = self._engine
        future.call = engine, engine.add_call(future, fn, (args, kwargs), options)
        return future

    def _load_future(self) -> Any:
        """Load the class of futures, which brings `concurrent.futures`, when it is first needed."""
        self._future_type = load("polyproc._pool.future", "Future")
        return self._future_type

    def options(self, **options: Unpack[CallOptions]) -> Self:
        """Return a view of this pool whose calls have these options; the workers are the same.

        Raises TypeError and ValueError for options that are none: see `CallOptions`.
        """
        found = resolved(self._options, options)
        if found.timeout is not None and not self._engine.scheduler.can_kill:
            raise ValueError("a thread cannot be ended from outside: a timeout needs a pool of processes")
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._whole = self if self._whole is None else self._whole
        view._options = found
        return view

    def resize(self, processes: int) -> None:
        """Have another number of workers from now on; those that are too many leave when their task is done."""
        if type(processes) is not int:
            processes = said("workers", processes, "processes")
        if processes < 1:
            raise ValueError(f"Number of processes must be at least 1: {processes} was given")
        self._engine.event("resized", processes)

    def stats(self) -> PoolStats:
        """Return how things stand now."""
        return self._engine.stats()


def progress_of(options: ResolvedOptions, total: int | None) -> Progress | None:
    """Return what a call's options ask for to be told of its progress."""
    if not options.progress:
        return None
    made: Progress = load("polyproc._pool.progress", "Progress")(options.progress, total)  # type: ignore[operator]
    return made
