"""task: a decorator that makes each call of a function run in a worker process."""

from __future__ import annotations

import functools
import os
import sys
from types import MethodType

from polyproc._base.modules import said
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Generic, ParamSpec, TypeVar, overload
from polyproc._pickling.main_definitions import main_definitions
from polyproc._pool.calls import DEFAULT_OPTIONS, CallOptions, resolved
from polyproc._pool.executor import ProcessPoolExecutor
from polyproc._pool.future import Future
from polyproc._pool.pool import Pool

if TYPE_CHECKING:
    from typing import Unpack

P = ParamSpec("P")
T = TypeVar("T")

# Seconds without a call after which the workers of the shared executors end.
_IDLE = 10.0


class _Executors:
    """The executors of tasks that named no pool, one for each context. One instance, `executors`."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._made: dict[Any, ProcessPoolExecutor] = {}

    def of(self, context: Any) -> ProcessPoolExecutor:
        """Return a context's executor, made when it is first asked for; a forked child has its own."""
        if self._pid != os.getpid():
            self.__init__()  # type: ignore[misc]
        if context not in self._made:
            self._made[context] = ProcessPoolExecutor(mp_context=context, idle_timeout=_IDLE)
        return self._made[context]


executors = _Executors()


class Task(Generic[P, T]):
    """A function whose calls run in a worker process, each returning a future; `run` calls it here."""

    __qualname__: str

    def __init__(
        self, fn: Callable[P, T], context: Any, pool: Pool | ProcessPoolExecutor | None, options: CallOptions
    ) -> None:
        functools.update_wrapper(self, fn)
        self.run = fn
        self._context = context
        self._pool = pool
        self._options = options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        pool = executors.of(self._context) if self._pool is None else self._pool
        return pool.options(**self._options).submit(_Run(self), *args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> Any:
        # By reference, as the function itself would be: its module's name leads to this object.
        return self.__qualname__ if self._is_found() else _by_value(self)

    def _is_found(self) -> bool:
        found: Any = sys.modules.get(self.__module__)
        for part in self.__qualname__.split("."):
            found = getattr(found, part, None)
        return found is self


class _Run:
    """The function behind a task's name, as a worker calls it."""

    def __init__(self, task: Task[Any, Any]) -> None:
        self.task = task
        self.__qualname__ = task.__qualname__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.task.run(*args, **kwargs)


def _by_value(task: Task[Any, Any]) -> tuple[Any, ...]:
    return _rebuild, (task.run, task._context, task._options)


main_definitions.kinds[Task] = _by_value


def check_task(fn: Any) -> Any:
    """Return a task's function. Raises TypeError for what cannot be called."""
    if not callable(fn):
        raise said("no_task", fn)
    return fn


def _rebuild(fn: Any, context: Any, options: CallOptions) -> Task[Any, Any]:
    return Task(fn, context, None, options)


@overload
def task(fn: Callable[P, T], /) -> Task[P, T]: ...
@overload
def task(
    *, context: Any = None, pool: Pool | ProcessPoolExecutor | None = None, **options: Unpack[CallOptions]
) -> Callable[[Callable[P, T]], Task[P, T]]: ...
def task(
    fn: Any = None,
    /,
    *,
    context: Any = None,
    pool: Pool | ProcessPoolExecutor | None = None,
    **options: Unpack[CallOptions],
) -> Any:
    """Run each call of a function in a worker process: `@task`, or `@task(timeout=3)`.

    A call returns a `Future` at once. The workers are shared by all tasks of a context and started when there is work.

    Args:
        fn: the function.
        context: the context whose processes the workers are; the default one, unless given.
        pool: a pool or an executor in whose workers to run instead.
        options: see `CallOptions`.
    """
    if fn is not None:
        check_task(fn)
    if pool is not None and context is not None:
        raise ValueError("a task has a pool or a context, not both: leave one out")
    if pool is not None and not hasattr(pool, "submit"):
        raise TypeError(f"a task's pool is a Pool or a ProcessPoolExecutor, and not {pool!r}")
    if context is not None and not hasattr(context, "Process"):
        raise said("no_context", context, False)
    resolved(DEFAULT_OPTIONS, options)
    if fn is None:
        return lambda function: Task(check_task(function), context, pool, options)
    return Task(fn, context, pool, options)
