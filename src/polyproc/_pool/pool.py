"""Pool, and the results of its calls: AsyncResult and MapResult; those of imap are in imap.py."""

from __future__ import annotations

import threading
from types import GenericAlias, TracebackType

from polyproc._base.errors import TimeoutError as PolyprocTimeoutError
from polyproc._base.errors import report
from polyproc._base.modules import Later, load, public, said
from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Generator, Generic, Iterable, Self, TypeVar
from polyproc._cleanup import Finalize
from polyproc._platform.handles import due
from polyproc._pool.calls import Calls, Job, Memory, checked_size, make_config, progress_of
from polyproc._scheduling.actions import Dropped
from polyproc._scheduling.assignments import RUN
from polyproc._workers.engine import NOT_RUNNING
from polyproc._workers.process_engine import ProcessPoolEngine
from polyproc._workers.worker import MAP, STARMAP, function_name
from polyproc._workers.worker_set import PoolConfig

warnings: Any = Later("warnings")

if TYPE_CHECKING:
    from polyproc._pool.async_pool import AsyncApplyResult, AsyncPool
    from polyproc._pool.imap import IMapIterator, ItemIterator
    from polyproc._workers.thread_engine import ThreadPoolEngine

if TYPE_CHECKING or not native:
    Latch = threading.Event
else:
    from polyproc._core import Latch

_NEVER_CHANGE = (range, tuple)  # and need no copy

T = TypeVar("T")
Callback = Callable[[Any], object]


@public("pool")
class ApplyResult(Job, Generic[T]):
    """The result of apply_async, map_async and starmap_async. It can be awaited, in asyncio and trio."""

    _is_known = False  # whether it has its outcome, and calls back now if it is not ready
    _callback: Callback | None = None
    _error_callback: Callback | None = None
    _success = True
    _value: Any = None
    __class_getitem__: Any = classmethod(GenericAlias)  # as annotations of programs have it

    def __init__(self, callback: Callback | None, error_callback: Callback | None) -> None:
        self._event = Latch()
        if callback is not None or error_callback is not None:
            self._callback = callback
            self._error_callback = error_callback
            self._calls_back = True

    def ready(self) -> bool:
        """Return whether the call is done."""
        return self._event.is_set()

    def successful(self) -> bool:
        """Return whether the call raised nothing. Raises ValueError when it is not done."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call is done, up to `timeout` seconds."""
        if timeout is not None:
            due(timeout)  # what is no number is refused, also where nobody waits
        self._event.wait(timeout)

    def get(self, timeout: float | None = None) -> T:
        """Wait as `wait` does; return the result or raise what the call raised. Raises TimeoutError."""
        if timeout is not None or not self._event.is_set():
            self.wait(timeout)
            if not self._event.is_set():
                raise PolyprocTimeoutError
        if self._success:
            return self._value  # type: ignore[no-any-return]
        raise self._value

    @property
    def aio(self) -> AsyncApplyResult[T]:
        """The methods as coroutines, for asyncio and trio: `await result.aio.get()`."""
        from polyproc._pool.async_pool import AsyncApplyResult

        return AsyncApplyResult(self)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for what `get` returns."""
        return self.aio.get().__await__()

    def _settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result."""
        self._finish(success, value)
        return True

    def _let_go(self) -> None:
        super()._let_go()
        self._callback = self._error_callback = None
        if self._is_known:
            self._event.set()

    def _finish(self, success: bool, value: Any) -> None:
        if type(value) is Dropped:
            value = load("concurrent.futures", "CancelledError")()  # type: ignore[operator]
        self._success, self._value, self._is_known = success, value, True
        callback = self._callback if success else self._error_callback
        self._callback = self._error_callback = None
        try:
            if callback is not None:
                callback(value)
        except BaseException:  # noqa: BLE001  (the user's: reported, the pool goes on)
            report("a pool's callback raised")
        finally:
            self._event.set()  # after the callback, as in the standard library: a thread that waited sees what it did
            if self._events:
                self._ring()


AsyncResult = ApplyResult


@public("pool")
class MapResult(ApplyResult[list[T]]):
    """The result of a call over many items, sent in chunks."""

    def __init__(self, chunksize: Any, *args: Any, **kwds: Any) -> None:
        if not isinstance(chunksize, int):  # a program's own, of a pool
            _recipes().remake_map(self, *args, **kwds)
            return
        length, callback, error = args
        super().__init__(callback, error)
        self._chunksize = chunksize
        self._left = -(-length // chunksize) if chunksize else 0
        self._length = length
        self._value = [None] * length
        if not self._left:
            self._event.set()

    @property
    def _number_left(self) -> int:  # of chunks: programs poll it to tell of progress
        return self._left

    def _settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result of a chunk; the first error counts, and is told when all chunks are done."""
        start = index * self._chunksize
        if success and self._success:
            self._value[start : start + self._chunksize] = value
        elif not success and self._success:
            self._success, self._value = False, value
        self._left -= 1
        left = self._left  # it is others', too, if what is called now does not return
        self._is_known = not left
        if self._progress is not None:
            self._progress.advance(min(start + self._chunksize, self._length) - start)
        if left:
            return False
        self._finish(self._success, self._value)
        return True


def _default_context() -> Any:
    from polyproc._context import default_context

    return default_context


def _recipes() -> Any:
    """Return what few programs use: see recipes.py."""
    from polyproc._pool import recipes

    return recipes


class _Insides(Calls):
    """How a call begins, and what programs reach for in a pool; what `istarmap` and others take is in recipes.py."""

    @staticmethod
    def Process(ctx: Any, *args: Any, **kwds: Any) -> Any:
        """Return a process object of a context, as a worker is one. For programs that call it."""
        return ctx.Process(*args, **kwds)

    def _call(
        self, result: ApplyResult[T], func: Callable[..., T], args: Any, kwds: Any, is_awaited: bool = False
    ) -> Any:
        """Submit a call, and return what that does; None if it was refused."""
        result._keeps = self._whole or self
        engine = self._engine
        if engine.state != RUN:
            self._check_running()
        try:
            if not callable(func):
                raise said("no_function", func, "apply", "pool.apply(a_function, (an_argument,))")
            args = args if type(args) is tuple else said("arguments", args, "args", func)
            kwds = dict(kwds) if type(kwds) is dict else said("keywords", kwds, "kwds")
            return engine.add_call(result, func, (args, kwds), self._options, is_awaited)
        except Exception as error:
            if isinstance(error, ValueError) and engine.state != RUN:
                raise
            engine.refuse(result, 1, error)
        return None

    def _check_running(self) -> None:
        if self._engine.state != RUN:
            raise ValueError(NOT_RUNNING)

    @property
    def _processes(self) -> int:
        return self._engine.size

    def _repopulate_pool(self) -> None:
        """Do nothing: workers are replaced as they end. For programs that call it."""

    @staticmethod
    def _get_tasks(func: Any, it: Iterable[Any], size: int) -> Iterable[Any]:
        return _recipes().batches_of(func, it, size)  # type: ignore[no-any-return]

    @staticmethod
    def _guarded_task_generation(result_job: int, func: Any, iterable: Iterable[Any]) -> Any:
        return _recipes().Tasks(result_job, func, iterable)

    @property
    def _taskqueue(self) -> Any:
        return _recipes().TaskQueue(self)

    @property
    def _cache(self) -> Any:
        return _recipes().Cache(self)


@public("pool")
class Pool(_Insides):
    """A number of worker processes that run calls. As in the standard library, except:

    a worker that dies costs the call that it ran, which raises ProcessDied; the others go on and it is replaced.
    Whatever a call raises, SystemExit too, and arguments or results that cannot be pickled or opened, are that call's
    error alone.

    An initializer may be a generator function: what is before its `yield` runs when a worker starts, what it yields is
    `polyproc.current_process().state` there, and what is behind runs when the worker leaves, also by `terminate`.

    Args:
        processes: how many workers; the processors that this process may use, unless given.
        initializer: what each worker calls first. If three in a row fail, every call raises the error.
        initargs: its arguments.
        maxtasksperchild: after how many tasks a worker is replaced.
        context: a context; the default one, unless given.
        max_memory_per_child: above which resident size (bytes, or "500MB") a worker is replaced after its task.
        idle_timeout: after how many seconds without work a worker ends; others start when there is work. Unless it is
            given, all workers start at once and stay.
    """

    def __init__(  # noqa: PLR0913  (the documented signature)
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        max_memory_per_child: Memory | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            raise ValueError(f"maxtasksperchild must be a positive int or None, and not {maxtasksperchild!r}")
        size = checked_size(processes)
        config = make_config(context, size, initializer, initargs, maxtasksperchild, max_memory_per_child, idle_timeout)
        self._ctx = _default_context() if context is None else context
        is_plain = type(self)._setup_queues is Pool._setup_queues
        self._begin(ProcessPoolEngine(config) if is_plain else self._engine_with_queues(config))

    @property
    def aio(self) -> AsyncPool:
        """The methods as coroutines, for asyncio and trio: `await pool.aio.map(f, items)`."""
        from polyproc._pool.async_pool import AsyncPool

        return AsyncPool(self)

    def _engine_with_queues(self, config: PoolConfig) -> ProcessPoolEngine:
        self._setup_queues()
        from polyproc._workers.own_queues import QueuePoolEngine

        return QueuePoolEngine(config, self._inqueue, self._outqueue)

    def _setup_queues(self) -> None:
        """Do nothing. A subclass may set `_inqueue` and `_outqueue`: tasks and results are pickled as they do."""
        self._inqueue = self._outqueue = None

    def _begin(self, engine: ProcessPoolEngine | ThreadPoolEngine) -> None:
        self._engine = engine.of(self, engine.terminate)
        self._terminate = Finalize(self, _terminate, args=(engine,), exitpriority=15)  # also if the start is broken off
        engine.start()

    @property
    def _state(self) -> str:
        return self._engine.state

    @_state.setter
    def _state(self, state: str) -> None:
        self._engine.state = state

    @property
    def _pool(self) -> list[Any]:
        return self._engine.processes

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} state={self._state} pool_size={len(self._pool)}>"

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None and engine.state == RUN and self._whole is None:
            warnings.warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    # -- calls -----------------------------------------------------------------------------------------------------

    def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwds: dict[str, Any] = {}) -> T:  # noqa: B006
        """Call `func(*args, **kwds)` in a worker; wait and return the result."""
        if type(self).apply_async is not Pool.apply_async:  # a subclass's own
            return self._wait(self.apply_async(func, args, kwds))
        result: ApplyResult[T] = ApplyResult(None, None)
        answer = self._call(result, func, args, kwds, True)
        return answer[0] if type(answer) is tuple else self._wait(result)

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] = {},  # noqa: B006  (the documented signature; never changed)
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> ApplyResult[T]:
        """Call `func(*args, **kwds)` in a worker; return at once."""
        result: ApplyResult[T] = ApplyResult(callback, error_callback)
        self._call(result, func, args, kwds)
        return result

    def _wait(self, result: ApplyResult[T]) -> T:
        """Wait for a result that nobody else knows: if the wait is broken off, nobody wants it any more."""
        try:
            return result.get()
        except BaseException:
            if not result.ready():
                self._engine.cancel_job(result, running=True)
            raise

    def map(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """Call `func` for each item; wait and return the results in order."""
        result: list[T] = self._wait(self._map_async(func, iterable, MAP, chunksize))
        return result

    def starmap(self, func: Callable[..., T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """Call `func(*item)` for each item; wait and return the results in order."""
        result: list[T] = self._wait(self._map_async(func, iterable, STARMAP, chunksize))
        return result

    def map_async(
        self,
        func: Callable[[Any], T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> MapResult[T]:
        """Call `func` for each item, in workers; return at once."""
        return self._map_async(func, iterable, MAP, chunksize, callback, error_callback)

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> MapResult[T]:
        """Call `func(*item)` for each item, in workers; return at once."""
        return self._map_async(func, iterable, STARMAP, chunksize, callback, error_callback)

    def _map_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        kind: int,
        chunksize: int | None,
        callback: Callback | None = None,
        error_callback: Callback | None = None,
    ) -> MapResult[T]:
        self._check_running()
        what = "map" if kind == MAP else "starmap"
        if chunksize is not None:
            chunksize = _checked_chunksize(chunksize, what)
        try:
            items: Any = iterable if type(iterable) in _NEVER_CHANGE else list(iterable)
        except TypeError as error:
            raise said("no_items", error, func, iterable, what) from None
        if chunksize is None:
            chunksize = 1 if self._options.are_for_one else -(-len(items) // (self._engine.size * 4))
        result: MapResult[T] = MapResult(chunksize, len(items), callback, error_callback)
        if not items:
            return result
        result._show(progress_of(self._options, len(items)))
        result._keeps = self._whole or self
        chunks: Any = _Chunks(items, chunksize)
        engine = self._engine
        try:
            if not callable(func):
                raise said("no_function", func, what, f"pool.{what}(a_function, items)")
            if kind == STARMAP and not isinstance(items[0], tuple | list):
                said("check_star_item", func, items[0])
            packed = engine.pack_function(func)
        except Exception as error:  # noqa: BLE001  (told where the result is waited for, as in the standard library)
            engine.refuse(result, len(chunks), error)
            return result
        try:
            engine.add_chunks(result, packed, kind, chunks, function_name(func), self._options)
        except BaseException:  # a Ctrl-C while arguments are pickled, or the pool was closed meanwhile
            engine.cancel_job(result)
            raise
        return result

    def imap(
        self,
        func: Callable[[Any], T],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
    ) -> IMapIterator[T] | ItemIterator[T]:
        """Call `func` for each item; return an iterator of the results, in order.

        Items are taken from the iterable in a thread, as results are asked for: at most `buffersize` are taken and not
        yet given back (some 64 chunks unless given), until `close` is called, which has the rest run unasked. The
        iterator's own `close` takes no more items.
        """
        return self._imap(func, iterable, chunksize, buffersize, is_ordered=True)

    def imap_unordered(
        self,
        func: Callable[[Any], T],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
    ) -> IMapIterator[T] | ItemIterator[T]:
        """Call `func` for each item; return an iterator of the results, as they come. Otherwise as `imap`."""
        return self._imap(func, iterable, chunksize, buffersize, is_ordered=False)

    def _imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
        buffersize: int | None,
        is_ordered: bool,
    ) -> IMapIterator[Any] | ItemIterator[Any]:
        from polyproc._pool.imap import begin_imap  # most pools do without

        self._check_running()
        chunksize = _checked_chunksize(chunksize, "imap")
        return begin_imap(self, func, iterable, chunksize, buffersize, is_ordered)

    # -- end -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take no more calls; workers end when all are done."""
        self._engine.close()

    def terminate(self) -> None:
        """End the workers at once; waiting for an unfinished call raises."""
        self._engine.terminate()  # first, and each time: a Ctrl-C may have broken off the call that spent the finalizer
        self._terminate()

    def join(self) -> None:
        """Wait for the workers' end; only after `close` or `terminate`. Raises ValueError before."""
        if self._engine.state == RUN:
            raise ValueError("Pool is still running: call close(), or terminate(), before join()")
        self._engine.join()

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.terminate()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc: Any) -> None:
        self._engine.terminate()

    _stays_here = True  # it cannot be sent: see _pickling/diagnosis.py

    def __reduce__(self) -> tuple[Any, ...]:
        raise NotImplementedError(said("holds_pool", "pool objects cannot be passed between processes or pickled"))


class _Chunks:
    """Items in chunks, each made when it is asked for: those of millions of items would be as large as these."""

    def __init__(self, items: Any, size: int) -> None:
        self._items = items
        self._starts = range(0, len(items), size)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        start = self._starts[index]
        return tuple(self._items[start : start + self._starts.step])


def _checked_chunksize(chunksize: int, what: str) -> int:
    if type(chunksize) is not int:
        chunksize = said("chunk_size", chunksize, what)
    if chunksize < 1:
        raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
    return chunksize


def _terminate(engine: ProcessPoolEngine | ThreadPoolEngine) -> None:
    engine.terminate()
    if engine.scheduler.can_kill:
        engine.join()


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
        from polyproc._workers.thread_engine import ThreadPoolEngine

        self._begin(ThreadPoolEngine(size, (initializer, initargs)))
