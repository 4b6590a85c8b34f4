"""What programs build of the standard library's insides of a pool: `istarmap` and its kin, workers of their own.

    batches = Pool._get_tasks(function, iterable, chunksize)
    result = IMapIterator(pool)  # or MapResult(pool, chunksize, length, callback)
    pool._taskqueue.put((pool._guarded_task_generation(result._job, starmapstar, batches), result._set_length))

Each batch is then an item of an `imap`, or of a map, of ours.
"""

from __future__ import annotations

import itertools
import threading
import traceback
import weakref

from polyproc._base.errors import TimeoutError as PolyprocTimeoutError
from polyproc._base.typing import Any, Callable, Iterable, Iterator, NamedTuple
from polyproc._pool.imap import IMapIterator, IMapUnorderedIterator
from polyproc._pool.pool import MapResult

INIT = "INIT"
job_counter: itertools.count[int] = itertools.count()
_awaited: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()  # number -> result without its tasks


class Tasks(NamedTuple):
    """What a generation of tasks is made of: a result's number, a function of a batch, the batches."""

    job: int
    function: Callable[[Any], list[Any]]
    batches: Iterable[Any]


def batches_of(function: Any, iterable: Iterable[Any], size: int) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield what `mapstar` and `starmapstar` take, of a number of items each."""
    items = iter(iterable)
    while batch := tuple(itertools.islice(items, size)):
        yield function, batch


class TaskQueue:
    """Stands for the queue of a pool's tasks."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def put(self, item: tuple[Any, Any] | None) -> None:
        """Run tasks whose result object the program has made. Raises TypeError for one made in another way."""
        if item is None:  # which ended a thread of the standard library's
            return
        tasks = item[0]
        result = _awaited.pop(tasks.job, None) if isinstance(tasks, Tasks) else None
        if result is None:
            raise TypeError("a pool's _taskqueue takes what _guarded_task_generation has made for a result, once")
        result._begin(self._pool, tasks.function, tasks.batches)

    def qsize(self) -> int:
        """Return how many tasks no worker runs yet."""
        return int(self._pool.stats().queued)

    def empty(self) -> bool:
        """Return whether there is none."""
        return not self.qsize()


class Cache:
    """Stands for the table of a pool's results: recipes hand it to theirs."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def __len__(self) -> int:
        raise TypeError("a pool does not count its unfinished calls here: see Pool.stats(), or wait for the results")


class RecipeIterator(IMapIterator[Any]):
    """An iterator of results that a program has made."""

    _ask = "imap"

    def __init__(self) -> None:
        self._job = next(job_counter)
        self._inner: Any = None
        self._has_begun = threading.Event()
        _awaited[self._job] = self

    def _begin(self, pool: Any, function: Any, batches: Any) -> None:
        self._inner = getattr(pool, self._ask)(function, batches)
        self._has_begun.set()

    def _set_length(self, length: int) -> None:
        """Do nothing: it is seen. For recipes, which hand it on."""

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, waiting up to `timeout` seconds. Raises TimeoutError, StopIteration."""
        if not self._has_begun.wait(timeout):
            raise PolyprocTimeoutError
        return self._inner.next(timeout)

    __next__ = next

    def is_ready(self) -> bool:
        """Return whether `next` would not wait."""
        return self._inner is not None and self._inner.is_ready()

    def __aiter__(self) -> Any:
        """Yield the results in asyncio and trio."""
        return self._inner.__aiter__()

    def close(self) -> None:
        """Take no more items and drop those that no worker has."""
        if self._inner is not None:
            self._inner.close()


class RecipeUnorderedIterator(RecipeIterator, IMapUnorderedIterator[Any]):
    """Return an iterator of the results as they come."""

    _ask = "imap_unordered"


class RecipeMapResult(MapResult[Any]):
    """The result of a map that a program has made."""

    def __init__(self, chunksize: int, length: int, callback: Any = None, error_callback: Any = None) -> None:
        super().__init__(chunksize, length, callback, error_callback)
        self._job = next(job_counter)
        self._inner: Any = None
        _awaited[self._job] = self

    def _begin(self, pool: Any, function: Any, batches: Any) -> None:
        self._keeps = pool

        def done(results: list[list[Any]]) -> None:
            self._finish(True, [value for batch in results for value in batch])

        self._inner = pool.map_async(function, batches, 1, done, lambda error: self._finish(False, error))

    @property
    def _number_left(self) -> int:
        return self._left if self._inner is None else self._inner._number_left


def remake_iterator(made: IMapIterator[Any]) -> None:
    """Make an iterator that a program calls for by the standard library's arguments what its recipe needs."""
    kind = RecipeUnorderedIterator if isinstance(made, IMapUnorderedIterator) else RecipeIterator
    made.__class__ = kind
    kind.__init__(made)  # type: ignore[arg-type]


def remake_map(made: MapResult[Any], *args: Any, **kwds: Any) -> None:
    """Make the result of a map; without the pool, which its arguments begin with."""
    made.__class__ = RecipeMapResult
    RecipeMapResult.__init__(made, *args, **kwds)  # type: ignore[arg-type]


def worker(
    inqueue: Any,
    outqueue: Any,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
    maxtasks: int | None = None,
    wrap_exception: bool = False,
) -> None:
    """Do tasks of one queue, and put their results into another, as the standard library's workers do.

    For programs that start workers of their own, with queues of their own; those of our pools do otherwise.
    """
    if initializer is not None:
        initializer(*initargs)
    for _ in itertools.count() if maxtasks is None else range(maxtasks):
        try:
            task = inqueue.get()
        except (EOFError, OSError):  # whoever gave the tasks has gone
            return
        if task is None:
            return
        job, index, function, args, kwds = task
        outcome: tuple[bool, Any]
        try:
            outcome = True, function(*args, **kwds)
        except Exception as error:  # noqa: BLE001  (the call's: told to whom it concerns)
            if wrap_exception:
                error.add_note("".join(traceback.format_exception(error)))
            outcome = False, error
        try:
            outqueue.put((job, index, outcome))
        except Exception as error:  # noqa: BLE001  (it cannot be pickled)
            outqueue.put(
                (job, index, (False, RuntimeError(f"Error sending result: {outcome[1]!r}. Reason: {error!r}")))
            )
