"""ThreadPool: the public class."""

from __future__ import annotations

from polyproc._base.modules import public, said
from polyproc._base.typing import Any, Callable, Iterable
from polyproc._pool.pool import Pool, checked_size
from polyproc._workers.thread_engine import ThreadPoolEngine


@public("pool")
class ThreadPool(Pool):
    """A pool on threads of this process: nothing is pickled, and a call cannot be ended from outside.

    `terminate` drops the calls that have not begun; `join` waits for those that have.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        size = checked_size(processes)
        if initializer is not None and not callable(initializer):
            raise said("no_initializer", initializer)
        initargs = initargs if type(initargs) is tuple else said("arguments", initargs, "initargs", initializer)
        self._begin(ThreadPoolEngine(size, (initializer, initargs)))
