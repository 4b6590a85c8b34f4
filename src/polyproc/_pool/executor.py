"""ProcessPoolExecutor: as in concurrent.futures, over the same engine as Pool."""

from __future__ import annotations

import concurrent.futures
import sys

from polyproc._base.errors import ProcessDied, ProcessError
from polyproc._base.modules import public, said, without_collecting
from polyproc._base.process_state import exit_sequence
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, TypeVar
from polyproc._pool.calls import Calls, Memory, begin_workers, checked_size, make_config, progress_of
from polyproc._scheduling.assignments import RUN

if TYPE_CHECKING:
    from types import TracebackType

    from polyproc._pool.future import Future
    from polyproc._pool.imap import MapCalls
    from polyproc._workers.process_engine import ProcessPoolEngine

T = TypeVar("T")

_TERMINATE, _KILL = "terminate", "kill"
_AFTER_SHUTDOWN = (
    "cannot schedule new futures after shutdown: shutdown() was called, or `with` has ended; make another executor"
)
_CUT_OFF = (
    "A child process terminated abruptly, the process pool is not usable anymore: terminate_workers() or "
    "kill_workers() was called while calls were open; make another executor"
)
_AFTER_EXIT = "cannot schedule new futures after interpreter shutdown: the program is at its end; submit before"


@public("pool")
class BrokenProcessPool(ProcessError, concurrent.futures.BrokenExecutor):
    """No worker can be started: the executor can do nothing. Its `__cause__` is what the first worker raised."""


@public("")
class WorkerDied(ProcessDied, BrokenProcessPool):
    """A worker died in the call. A BrokenProcessPool, too, for programs that wait for that; the executor goes on."""


@public("")
class ProcessPoolExecutor(Calls, concurrent.futures.Executor):
    """Worker processes that run calls. As in concurrent.futures (3.14), except:

    it never breaks: a worker that dies costs the call that it ran, which raises WorkerDied (a ProcessDied, and a
    BrokenProcessPool), and is replaced. Running calls can be cancelled. Workers start when there is work for them.

    Args:
        max_workers: how many workers, at most; the processors that this process may use, unless given.
        mp_context: a context of polyproc; the default one, unless given.
        initializer: what each worker calls first; it may be a generator function, as with `Pool`.
        initargs: its arguments.
        max_tasks_per_child: after how many calls a worker is replaced.
        max_memory_per_child: above which resident size (bytes, or "500MB") a worker is replaced after its call.
        idle_timeout: after how many seconds without work a worker ends.
    """

    def __init__(  # noqa: PLR0913  (the documented signature)
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: Memory | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        if max_workers is not None and type(max_workers) is not int:
            max_workers = said("workers", max_workers, "max_workers")
        if max_workers is not None and max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0: {max_workers} was given")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError(f"max_tasks_per_child must be an integer, and not {max_tasks_per_child!r}")
            if max_tasks_per_child <= 0:
                raise ValueError(f"max_tasks_per_child must be >= 1, and not {max_tasks_per_child!r}")
        if mp_context is None:
            from polyproc._context import default_context

            default: Any = default_context
            # As documented there, though fork would do.
            mp_context = default.get_context(None if max_tasks_per_child is None else "spawn")
        self._mp_context = mp_context
        begin_workers(getattr(mp_context, "Process", None))
        finalizer, self._map_calls, engine_of = without_collecting(self._load_what_runs)
        args = (initializer, initargs, max_tasks_per_child, max_memory_per_child, idle_timeout)
        config = make_config(mp_context, checked_size(max_workers), *args, is_executors=True)
        engine = engine_of(config, _translated)
        self._engine: ProcessPoolEngine = engine.of(self, engine.close)
        self._finalizer = finalizer(self, _let_go, args=(self._engine,), exitpriority=15)

    def _load_what_runs(self) -> tuple[Any, type[MapCalls], type[ProcessPoolEngine]]:
        """Load what an executor needs once it is made; a worker's main module mostly has the class alone."""
        from polyproc._cleanup import Finalize
        from polyproc._pool.imap import MapCalls
        from polyproc._workers.process_engine import ProcessPoolEngine

        self._load_future()
        return Finalize, MapCalls, ProcessPoolEngine

    # What programs look at that reach inside concurrent.futures.

    @property
    def _broken(self) -> BaseException | str | bool:
        return self._engine.error or (_CUT_OFF if self._engine.scheduler.was_cut_off else False)

    @property
    def _executor_manager_thread(self) -> Any:
        return self._engine.thread if self._engine.is_started else None

    @property
    def _max_workers(self) -> int:
        return self._engine.size

    @property
    def _processes(self) -> dict[int, Any]:
        return {process.pid: process for process in self._engine.processes}

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call `fn(*args, **kwargs)` in a worker; return its future at once.

        What cannot be pickled is the future's error, as in the standard library. Raises RuntimeError after `shutdown`,
        BrokenProcessPool when no worker can be started, or the workers were ended while calls were open.
        """
        engine = self._engine
        if engine.state != RUN or exit_sequence.exiting or engine.scheduler.error is not None:
            _check(engine)
        future: Future[T] = self._future_type()
        options = self._options
        if options.progress:
            future._progress = progress_of(options, 1)
        future._keeps = self._whole or self
        try:
            if not callable(fn):
                raise said("no_function", fn, "submit", "submit(a_function, an_argument)")
            future._call = engine, engine.add_call(future, fn, (args, kwargs), options)
        except Exception as error:  # noqa: BLE001  (told where the result is waited for)
            _check(engine)
            future.set_exception(error)
        return future

    _stays_here = True  # it cannot be sent: see _pickling/diagnosis.py

    def __reduce__(self) -> tuple[Any, ...]:
        text = f"cannot pickle {type(self).__name__!r} object"
        raise TypeError(said("holds_pool", f"{text}: executors cannot be passed between processes"))

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call `fn` with the items of the iterables; return an iterator of the results, in order.

        Args:
            fn: what to call.
            iterables: as for the built-in `map`.
            timeout: seconds from now; a result that is not there then raises TimeoutError.
            chunksize: how many calls go to a worker together.
            buffersize: how many items may have been taken whose result was not asked for; all, unless given.

        Raises what a call raised, when the iteration comes to it; the rest is then cancelled.
        """
        if type(chunksize) is not int:
            chunksize = said("chunk_size", chunksize, "map")
        if chunksize < 1:
            raise ValueError(f"chunksize must be >= 1. {chunksize} was given")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError(f"buffersize must be an integer or None, and not {buffersize!r}")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be None or > 0, and not {buffersize!r}")
        _check(self._engine)
        from polyproc._platform.handles import due

        deadline = None if timeout is None else due(timeout)
        try:
            calls = zip(*iterables, strict=False)
        except TypeError as error:
            raise said("no_items", error, fn, next(i for i in iterables if not hasattr(i, "__iter__")), "map") from None
        if not callable(fn):
            raise said("no_function", fn, "map", "executor.map(a_function, items)")
        feed = self._map_calls(self, fn, calls, chunksize, _check)
        try:
            if buffersize is None:
                feed.send_all()
            else:
                feed.send(max(buffersize // chunksize, 1))
        except BaseException:  # an iterable has failed, or a Ctrl-C
            feed.cancel()
            raise
        return feed.results(deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; end the workers when all are done. Can be called more than once.

        Args:
            wait: whether to wait for that.
            cancel_futures: whether to cancel the calls that no worker has begun, or is being started for.
        """
        engine = self._engine
        engine.close()
        if cancel_futures:
            engine.event("waiting_cancelled", unseen=True)
        if wait:
            _join(engine)
            self._finalizer.cancel()

    def terminate_workers(self) -> None:
        """Send SIGTERM to the workers and shut down, without waiting: what they ran raises, the rest is cancelled."""
        self._force_shutdown(operation=_TERMINATE)

    def kill_workers(self) -> None:
        """Kill the workers and shut down, without waiting: what they ran raises, the rest is cancelled."""
        self._force_shutdown(operation=_KILL)

    def _force_shutdown(self, operation: str) -> None:  # programs replace it
        if operation not in (_TERMINATE, _KILL):
            raise ValueError(f"Unsupported operation: {operation!r}")
        self._engine.close()
        self._engine.event("workers_killed", operation == _TERMINATE)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            _end_now(self._engine)
        self.shutdown(wait=True)


def _check(engine: ProcessPoolEngine) -> None:
    """Raise what says why it takes no more calls, if it does not."""
    if engine.state != RUN:
        if engine.scheduler.was_cut_off:
            raise BrokenProcessPool(_CUT_OFF)
        raise RuntimeError(_AFTER_SHUTDOWN)
    if exit_sequence.is_exiting():
        raise RuntimeError(_AFTER_EXIT)
    if engine.error is not None:
        raise BrokenProcessPool(str(engine.error)) from engine.error


def _let_go(engine: ProcessPoolEngine) -> None:
    """Finish the submitted calls of an executor that nobody refers to any more; at exit, wait for them."""
    engine.close()
    if exit_sequence.is_exiting():
        if issubclass(getattr(sys, "last_type", None) or object, KeyboardInterrupt):  # it ended the program
            _end_now(engine)
        _join(engine)


def _join(engine: ProcessPoolEngine) -> None:
    """Wait for the end; a Ctrl-C ends all at once."""
    try:
        engine.join()
    except KeyboardInterrupt:
        _end_now(engine)
        engine.join()
        raise


def _end_now(engine: ProcessPoolEngine) -> None:
    """After a Ctrl-C: drop the calls that have not begun, and end the workers."""
    engine.close()
    engine.event("waiting_cancelled")
    engine.terminate()


def _translated(error: BaseException) -> BaseException:
    """Return an error of the engine as one that programs for concurrent.futures know."""
    if isinstance(error, ProcessDied):
        died = WorkerDied(error.pid, error.exitcode)
        died.__dict__.update(error.__dict__)
        died.args = error.args
        return died
    broken = BrokenProcessPool(f"no worker can be started: {error!r}")
    broken.__cause__ = error
    return broken
