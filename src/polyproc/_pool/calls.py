"""What all pools and executors have in common beyond the standard library: submit, options, resize, stats."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from polyproc._lazy import load
from polyproc._pool.crew import Crew
from polyproc._pool.options import PLAIN, CallOptions, Terms
from polyproc._pool.progress import progress_of
from polyproc._pool.stats import PoolStats
from polyproc._pool.thread_crew import ThreadCrew
from polyproc._pool.worker import CALL

if TYPE_CHECKING:
    from typing import Unpack

    from polyproc._pool.future import Future
    from polyproc._pool.ledger import Task

P = ParamSpec("P")
T = TypeVar("T")


class Calls:
    """A crew, and the terms of the calls that are made through this object."""

    _crew: Crew | ThreadCrew
    _terms: Terms = PLAIN
    _whole: Any = None  # of a view: what it is a view of, which has to live as long

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn(*args, **kwargs)` called in a worker; return its future at once.

        Raises:
            ValueError: the pool takes no more calls.
            Exception: what pickling the function or the arguments raised.
        """
        future: Future[T] = load("polyproc._pool.future", "Future")()  # type: ignore[operator]
        crew = self._crew
        packed = crew.pack_function(fn)
        number = crew.add_job(future, self._whole or self)
        future.progress = progress_of(self._terms, 1)
        try:
            task = crew.add_call(number, (packed, CALL, (args, kwargs)), name_of(fn), self._terms)
        except BaseException:
            crew.forget(number)
            raise
        future.submitted_as(_Submitted(crew, task))
        return future

    def options(self, **options: Unpack[CallOptions]) -> Self:
        """Return a view of this pool whose calls have these options; the workers are the same.

        Raises TypeError and ValueError for options that are none: see `CallOptions`.
        """
        terms = self._terms.with_(options)
        if terms.timeout is not None and isinstance(self._crew, ThreadCrew):
            raise ValueError("a thread cannot be ended from outside: a timeout needs a pool of processes")
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._whole = self if self._whole is None else self._whole
        view._terms = terms
        return view

    def resize(self, processes: int) -> None:
        """Have another number of workers from now on; those that are too many leave when their task is done."""
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        self._crew.resize(processes)

    def stats(self) -> PoolStats:
        """Return how things stand now."""
        return self._crew.stats()


class _Submitted:
    """A call that was submitted to a crew."""

    def __init__(self, crew: Crew | ThreadCrew, task: Task) -> None:
        self._crew = crew
        self._task = task

    def withdraw(self) -> None:
        self._crew.withdraw(self._task)

    def is_running(self) -> bool:
        return self._crew.runs(self._task)


def name_of(func: Any) -> str:
    """Return the name of a function, for those who read of its failure."""
    if isinstance(func, functools.partial):
        return name_of(func.func)
    return getattr(func, "__qualname__", "")
