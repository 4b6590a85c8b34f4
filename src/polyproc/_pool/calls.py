"""What all pools and executors have in common: options, of a call and of a pool; jobs; submit, resize and stats."""

from __future__ import annotations

from polyproc._base.errors import ProcessDied, TimeoutError
from polyproc._base.modules import Later, said
from polyproc._base.process_state import process_state
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Iterable, ParamSpec, Self, Sequence, TypedDict, TypeVar
from polyproc._platform.posix import HAVE_FORK
from polyproc._process.process import BaseProcess, Process, method_of
from polyproc._scheduling.actions import ResolvedOptions

re: Any = Later("re")

if TYPE_CHECKING:
    from typing import Unpack

    from polyproc._aio.loops import ThreadEvent
    from polyproc._pool.future import Future
    from polyproc._pool.progress import Progress
    from polyproc._scheduling.deaths_and_deadlines import PoolStats
    from polyproc._workers.process_engine import ProcessPoolEngine
    from polyproc._workers.thread_engine import ThreadPoolEngine
    from polyproc._workers.worker_set import PoolConfig

P = ParamSpec("P")
T = TypeVar("T")


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
        raise said("unknown_option", min(unknown), list(CallOptions.__annotations__))
    found = base._replace(**options)
    for name in ("timeout", "grace"):
        if (value := getattr(found, name)) is not None and not isinstance(value, int | float):
            said("seconds", value, name)
    if found.timeout is not None and not found.timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds or None, and not {found.timeout!r}")
    if found.grace is None or not found.grace >= 0:
        raise ValueError(f"grace must be a number of seconds, zero or more, and not {found.grace!r}")
    for name in ("retries", "priority"):
        if not isinstance(getattr(found, name), int):
            raise said("no_integer", name, getattr(found, name))
    if found.retries < 0:
        raise ValueError(f"retries must be zero or more, and not {found.retries!r}")
    kinds = found.retry_on if isinstance(found.retry_on, tuple) else (found.retry_on,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise said("no_exceptions", found.retry_on)
    if not isinstance(found.progress, bool) and not callable(found.progress):
        raise TypeError(f"progress must be a bool or a callable, and not {found.progress!r}: write progress=True")
    return found._replace(retries_timeouts=any(issubclass(TimeoutError, kind) for kind in kinds))


def begin_workers(process: type[BaseProcess[Any]] | None) -> None:
    """Start early what will start the workers of a class: it comes up while the pool's modules are loaded."""
    method = method_of(process)
    if HAVE_FORK and method in ("forkserver", "spawn"):
        from polyproc._start.early_interpreter import early

        early.begin_for_pool(method)


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
    if process_state.importing_main:
        from polyproc._process.child_life import MainReached

        raise MainReached
    if initializer is not None and not callable(initializer):
        raise said("no_initializer", initializer)
    if type(initargs) is not tuple:
        initargs = said("arguments", initargs, "initargs", initializer)
    if idle_timeout is not None:
        said("seconds", idle_timeout, "idle_timeout")
        if not idle_timeout >= 0:
            raise ValueError(
                f"idle_timeout must be a number of seconds, zero or more, or None, and not {idle_timeout!r}"
            )
    most = None if max_memory is None else bytes_of(max_memory)
    if context is not None and not hasattr(context, "Process"):
        raise said("no_context", context, is_executors)
    process = Process if context is None else context.Process
    if not isinstance(process, type) or not issubclass(process, BaseProcess):
        raise TypeError(f"not a context of polyproc: {context!r}; use polyproc.get_context()")
    from polyproc._workers.worker_set import PoolConfig

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
        method_of(process) == "fork",
    )


def checked_size(processes: int | None, name: str = "processes") -> int:
    """Return the number of workers. Raises ValueError, and TypeError for what is no number."""
    if processes is None:
        from polyproc._platform.circumstances import usable_processors

        processes = usable_processors()
    if type(processes) is not int:
        processes = said("workers", processes, name)
    if processes < 1:
        raise ValueError(f"Number of processes must be at least 1: {processes} was given")
    return processes


def bytes_of(memory: Memory) -> int:
    """Return a number of bytes; a string may have a unit: "500MB" (10**6), "2GiB" (2**30). Raises ValueError."""
    if isinstance(memory, int):
        size = memory
    else:
        found = re.fullmatch(_MEMORY, memory, re.IGNORECASE) if isinstance(memory, str) else None
        if found is None:
            raise ValueError(f"not an amount of memory: {memory!r}; say a number of bytes, or for example '500MB'")
        size = int(float(found[1]) * _UNITS[(found[2] or "").lower()])
    if size <= 0:
        raise ValueError(f"an amount of memory must be positive, and not {memory!r}")
    return size


class Job:
    """A number of tasks that were asked for together. The pool's thread settles them, callers wait.

    `progress` is told of each chunk that is done.
    """

    _progress: Progress | None = None
    _keeps: Any = None  # the pool, until it is done
    _calls_back = False  # whether to settle it runs code of the user's
    _events: tuple[ThreadEvent, ...] = ()

    def _tell(self, event: ThreadEvent) -> None:
        """Set an event at each change from now on."""
        self._events = (*self._events, event)

    def _tell_no_more(self, event: ThreadEvent) -> None:
        """Set it no more."""
        self._events = tuple(other for other in self._events if other is not event)

    def _ring(self) -> None:
        for event in self._events:
            event.set()

    def _show(self, progress: Progress | None) -> None:
        """Show its progress from now on."""
        if progress is not None:
            self._progress = progress
            self._calls_back = True

    def _let_go(self) -> None:
        """Call nobody back any more, and do not wait for whom it calls."""
        self._progress = None
        self._calls_back = False

    def _settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result of a task; return whether it was the job's last."""
        raise NotImplementedError

    def _settle_run(self, values: Sequence[tuple[Any, int, Any]]) -> bool:
        """Take the values of tasks, each behind this and its index; return whether the job's last was among them."""
        return any([self._settle(index, True, value) for _, index, value in values])


class Calls:
    """An engine, and the options of the calls that are made through this object."""

    _engine: ProcessPoolEngine | ThreadPoolEngine
    _options: ResolvedOptions = DEFAULT_OPTIONS
    _future_type: Any = None
    _whole: Any = None  # of a view: what it is a view of, which has to live as long

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn(*args, **kwargs)` in a worker; return its future at once.

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
            future._progress = progress_of(options, 1)
        future._keeps = self._whole or self
        engine = self._engine
        future._call = engine, engine.add_call(future, fn, (args, kwargs), options)
        return future

    def _load_future(self) -> Any:
        """Load the class of futures, which brings `concurrent.futures`, when it is first needed."""
        from polyproc._pool.future import Future

        self._future_type = Future
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
        """Set the number of workers; those that are too many leave when their task is done."""
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
    from polyproc._pool.progress import Progress

    made: Progress = Progress(options.progress, total)
    return made
