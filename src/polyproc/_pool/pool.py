"""Pool: the public class."""

from __future__ import annotations

import itertools
import os
import threading
import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from polyproc._cleanup.finalizers import Finalize
from polyproc._pool.crew import Crew
from polyproc._pool.jobs import CLOSE, RUN, TERMINATE
from polyproc._pool.results import ApplyResult, Callback, IMapIterator, IMapUnorderedIterator, MapResult
from polyproc._pool.thread_crew import ThreadCrew
from polyproc._pool.worker import CALL, MAP, STARMAP


class Pool:
    """A number of worker processes that run calls. As in the standard library, except:

    a worker that dies costs the call that it ran, which raises ProcessDied; the others go on and it is replaced.
    Whatever a call raises, SystemExit too, and arguments or results that cannot be pickled or opened, are that call's
    error alone.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
    ) -> None:
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            raise ValueError("maxtasksperchild must be a positive int or None")
        processes = _checked(processes, initializer)
        self._begin(Crew(context, processes, (initializer, tuple(initargs)), maxtasksperchild), processes)

    def _begin(self, crew: Crew | ThreadCrew, processes: int) -> None:
        self._processes = processes
        self._crew = crew
        crew.start()
        self._terminate = Finalize(self, _terminate, args=(crew,), exitpriority=15)

    @property
    def _state(self) -> str:
        return self._crew.state

    @_state.setter
    def _state(self, state: str) -> None:
        self._crew.state = state

    @property
    def _pool(self) -> list[Any]:
        return self._crew.processes

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} state={self._state} pool_size={len(self._pool)}>"

    def __del__(self) -> None:
        crew = getattr(self, "_crew", None)
        if crew is not None and crew.state == RUN:
            warnings.warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    def _repopulate_pool(self) -> None:
        """Do nothing: workers are replaced as they end. For programs that call it."""

    # -- calls -----------------------------------------------------------------------------------------------------

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: dict[str, Any] = {}) -> Any:  # noqa: B006
        """Call `func(*args, **kwds)` in a worker; wait and return the result."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] = {},  # noqa: B006  (the documented signature; never changed)
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> ApplyResult:
        """Have `func(*args, **kwds)` called in a worker; return at once."""
        result = ApplyResult(callback, error_callback)
        number = self._crew.add_job(result)
        if (packed := self._pack(number, func, 1)) is not None:
            self._crew.add_tasks(number, 0, iter([(packed, CALL, (tuple(args), dict(kwds)))]), _name_of(func))
        return result

    def _pack(self, number: int, func: Any, tasks: int) -> Any:
        """Pickle a function; one that cannot be pickled fails all tasks of its job."""
        try:
            return self._crew.pack_function(func)
        except Exception as error:  # noqa: BLE001  (told where the result is waited for, as in the standard library)
            self._crew.fail_all(number, tasks, error)
            return None

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Call `func` for each item; wait and return the results in order."""
        result: list[Any] = self._map_async(func, iterable, MAP, chunksize).get()
        return result

    def starmap(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """Call `func(*item)` for each item; wait and return the results in order."""
        result: list[Any] = self._map_async(func, iterable, STARMAP, chunksize).get()
        return result

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> MapResult:
        """Have `func` called for each item; return at once."""
        return self._map_async(func, iterable, MAP, chunksize, callback, error_callback)

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> MapResult:
        """Have `func(*item)` called for each item; return at once."""
        return self._map_async(func, iterable, STARMAP, chunksize, callback, error_callback)

    def _map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        kind: int,
        chunksize: int | None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> MapResult:
        self._check_running()
        items = list(iterable)
        if chunksize is None:
            chunksize = -(-len(items) // (self._processes * 4))
        result = MapResult(chunksize, len(items), callback, error_callback)
        if not items:
            return result
        chunks = [tuple(items[start : start + chunksize]) for start in range(0, len(items), chunksize)]
        number = self._crew.add_job(result)
        if (packed := self._pack(number, func, len(chunks))) is not None:
            self._crew.add_chunks(number, packed, kind, chunks, _name_of(func))
        return result

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> Any:
        """Call `func` for each item; return an iterator of the results, in order."""
        return self._imap(IMapIterator(), func, iterable, chunksize)

    def imap_unordered(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> Any:
        """Call `func` for each item; return an iterator of the results, as they come."""
        return self._imap(IMapUnorderedIterator(), func, iterable, chunksize)

    def _imap(self, result: IMapIterator, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int) -> Any:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        number = self._crew.add_job(result)
        feeder = threading.Thread(
            target=_feed, args=(self._crew, number, result, func, iter(iterable), chunksize), daemon=True
        )
        feeder.name = "polyproc-imap"
        feeder.start()
        return result if chunksize == 1 else (item for chunk in result for item in chunk)

    # -- end -------------------------------------------------------------------------------------------------------

    def _check_running(self) -> None:
        if self._crew.state != RUN:
            raise ValueError("Pool not running")

    def close(self) -> None:
        """Take no more calls; workers end when all are done."""
        with self._crew.lock:
            if self._crew.state == RUN:
                self._crew.state = CLOSE
        self._crew.wake()

    def terminate(self) -> None:
        """End the workers at once; what is not done raises in those who wait."""
        self._terminate()

    def join(self) -> None:
        """Wait for the workers' end; only after `close` or `terminate`. Raises ValueError before."""
        if self._crew.state == RUN:
            raise ValueError("Pool is still running")
        self._crew.thread.join()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.terminate()

    def __reduce__(self) -> tuple[Any, ...]:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")


class ThreadPool(Pool):
    """The same on threads of this process: nothing is pickled, and a call cannot be ended from outside.

    `terminate` drops the calls that have not begun; `join` waits for those that have.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        processes = _checked(processes, initializer)
        self._begin(ThreadCrew(processes, (initializer, tuple(initargs))), processes)


def _checked(processes: int | None, initializer: object) -> int:
    """Return the number of workers."""
    if processes is None:
        processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if processes < 1:
        raise ValueError("Number of processes must be at least 1")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    return processes


def _terminate(crew: Crew | ThreadCrew) -> None:
    with crew.lock:
        crew.state = TERMINATE
    crew.wake()
    if isinstance(crew, Crew) and crew.thread is not threading.current_thread():
        crew.thread.join()


def _name_of(func: Any) -> str:
    return getattr(func, "__qualname__", "")


def _feed(crew: Crew | ThreadCrew, number: int, result: IMapIterator, func: Any, items: Any, chunksize: int) -> None:
    """Turn items into tasks, in a thread: the iterable may be long, or slow."""
    index = 0
    try:
        packed = crew.pack_function(func)
        while crew.state in (RUN, CLOSE):
            chunk = tuple(itertools.islice(items, chunksize))
            if not chunk:
                break
            message = (packed, CALL, (chunk, {})) if chunksize == 1 else (packed, MAP, chunk)
            index += crew.add_tasks(number, index, iter([message]), _name_of(func))
    except BaseException as error:  # noqa: BLE001  (the user's iterable raised: told to who reads the results)
        result.settle(index, False, error)
        index += 1
    if result.set_length(index):
        crew.forget(number)
