"""What runs in a worker: read a task, run it, send the result, until told to end.

A task is (pickled function, kind, payload), or a batch of payloads. Arguments that cannot be opened, and results that
cannot be pickled, are that task's error alone.
"""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
import _signal as signal  # `signal` makes enumerations of it
import _thread
import sys
import threading
import time
from itertools import starmap
from types import BuiltinFunctionType, FrameType, FunctionType, GeneratorType

from polyproc._base.errors import RemoteError
from polyproc._base.kernel import os
from polyproc._base.modules import Later, load, loaded, public
from polyproc._base.typing import Any, Callable, Iterable, NamedTuple
from polyproc._pickling.exceptions import ExceptionWithTraceback, notes_of, reason_of, sendable
from polyproc._pickling.pickler import InheritedValue, dumps, dumps_to_keep
from polyproc._platform.circumstances import added_environment
from polyproc._process.process import current_process
from polyproc._workers.interrupter import Interrupter, Terminated, is_importing, leave_copy, signal_again
from polyproc._workers.messages import DONE, FAILED, FAILED_START, LEAVING, PARTS, READY, ErrorSent, names_of

# How many threads the numerical libraries of a worker use: its share of the processors, unless the user said.
#
# OpenBLAS, MKL and OpenMP take one thread for each processor, in each process: workers would get into each other's way.
# They read an environment variable when they are loaded. Those that are loaded already are told by threadpoolctl, if
# that is installed: the parent looks for them before it forks, the worker tells them.
#
# OpenBLAS stops its threads at a fork, and starts them again when it is told a number; they then spin for a while, on
#  the
# processors of those that work. So its number is written where it keeps it, and where it is read at each call:
# `blas_cpu_number` (driver/others/blas_server.c of OpenBLAS).

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_USERS = ("numpy", "scipy", "torch")


def share_of(processors: int, workers: int) -> int | None:
    """Return how many threads each worker should use; None when that is the user's to say, or all."""
    if workers < 2 or any(name in os.environ for name in VARIABLES):
        return None
    return max(processors // workers, 1)


class Libraries:
    """The numerical libraries that this process has loaded. One instance, `libraries`; a forked child has it, too."""

    def __init__(self) -> None:
        self._found: list[Any] | None = None
        self._modules = 0  # how many were loaded when they were looked for

    def find(self) -> None:
        """Look for them, unless that was done and nothing has been loaded since."""
        if self._modules == len(sys.modules) or not any(name in sys.modules for name in _USERS):
            return
        try:
            controller: Any = load("threadpoolctl", "ThreadpoolController")
            self._found = [_Library(found) for found in controller().lib_controllers]
        except (ImportError, AttributeError):  # it is not installed, or too old
            pass
        self._modules = len(sys.modules)

    def limit(self, threads: int) -> None:
        """Set the number of threads that they use."""
        if self._found is None and loaded("threadpoolctl") is not None:
            self.find()
        for library in self._found or ():
            library.limit(threads)


libraries = Libraries()


class _Library:
    """One of them."""

    def __init__(self, found: Any) -> None:
        self._found = found
        self._number: Any = None
        if found.internal_api == "openblas":
            try:
                number = load("ctypes", "c_int").in_dll(found.dynlib, "blas_cpu_number")  # type: ignore[attr-defined]
            except (AttributeError, ValueError):  # another OpenBLAS than we know
                return
            if number.value == found.num_threads:
                self._number = number

    def limit(self, threads: int) -> None:
        """Set the number of threads that it uses."""
        if self._number is not None:
            self._number.value = threads
        else:
            self._found.set_num_threads(threads)


def environment_of_worker(threads: int | None) -> added_environment:
    """Set the variables in the environment of processes that this thread starts meanwhile."""
    if threads is None:
        return added_environment({})
    libraries.find()  # a forked worker has them, then
    return added_environment(dict.fromkeys(VARIABLES, str(threads)))


def limit_threads(threads: int | None) -> None:
    """In a worker: set the variables, for what it loads and starts, and limit what it has loaded."""
    if threads is not None:
        for name in VARIABLES:
            os.environ.setdefault(name, str(threads))
        libraries.limit(threads)


traceback: Any = Later("traceback")

# What a task is: a call, a call for each item, a call for each item as arguments; and whether it is a batch of them.
CALL, MAP, STARMAP, BATCH = 0, 1, 2, 4
_SLICE = 0.002  # seconds: a batch that takes longer goes back, and the rest of it to whoever is idle
_MAX_FUNCTIONS = 100


@public("pool")
class MaybeEncodingError(Exception):
    """A result that could not be pickled: the error and the result, as text."""

    def __init__(self, exc: object, value: object) -> None:
        self.exc: str = _safe_repr(exc)
        self.value: str = _safe_repr(value)
        super().__init__(self.exc, self.value)

    def __str__(self) -> str:
        text = f"Error sending result: '{self.value}'. Reason: '{self.exc}'"
        return f"{text}. What a call returns is pickled: return data alone, list(...) in place of a generator"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except BaseException:  # noqa: BLE001  (a broken __repr__ must not cost the worker)
        return f"<{type(value).__name__} object>"


def mapstar(call: tuple[Callable[[Any], Any], Iterable[Any]]) -> list[Any]:
    """Call a function for each item of a chunk: for programs that reach for it."""
    return list(map(*call))


def starmapstar(call: tuple[Callable[..., Any], Iterable[Any]]) -> list[Any]:
    """Call a function for each item of a chunk, with the item as its arguments."""
    function, chunk = call
    return [function(*args) for args in chunk]


class WorkerPlan(NamedTuple):
    """What a worker is told when it starts."""

    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    most_memory: int | None
    is_executors: bool  # what pickling of a result raised is told as it is, and not as a MaybeEncodingError


def worker(end: Any, cell: Any, threads: int | None, kept: InheritedValue) -> None:
    """Serve until told to end; numerical libraries use so many `threads`."""
    plan = kept.value
    end.begin()
    # A Ctrl-C is the parent's to decide upon; an executor waits for what runs, so it ends that.
    signal.signal(signal.SIGINT, _interrupt if plan.is_executors else signal.SIG_IGN)
    current_process()._config["nests"] = True  # it may start processes: they are daemons too, and end with it
    limit_threads(threads)
    interrupter = Interrupter(cell)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _end_copy(end, interrupter))
    try:
        tear_down = _set_up(interrupter, plan)
    except Terminated:
        return
    except BaseException as error:
        interrupter.is_open = False
        end.put((FAILED_START, _pack_error(error)[0], 0.0))
        if not plan.is_executors:
            raise
        load("concurrent.futures._base", "LOGGER").critical("Exception in initializer:", exc_info=True)  # type: ignore[attr-defined]
        return
    end.put((READY, b"", 0.0))
    try:
        _serve(end, interrupter, plan)
    finally:
        if tear_down is not None:
            next(tear_down, None)


def _end_copy(end: Any, interrupter: Interrupter) -> None:
    """In a process that a task has forked: let it end where it would come back to be a worker, too."""
    end.get = end.put = leave_copy
    interrupter.take_next = leave_copy  # type: ignore[method-assign]


def _set_up(interrupter: Interrupter, plan: WorkerPlan) -> GeneratorType[Any, Any, Any] | None:
    """Call the initializer; of a generator, run the first part and return the rest."""
    if plan.initializer is None:
        return None
    made = plan.initializer(*plan.initargs)
    if not isinstance(made, GeneratorType):
        return None
    interrupter.ends_by_sigterm()
    interrupter.is_open = True
    current_process().state = next(made)
    interrupter.is_open = False
    return made


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt in a call that runs, once no import is torn by it, and nowhere else."""
    if is_importing(frame) and signal_again(signum):
        return
    while frame is not None:
        if frame.f_code is call.__code__:
            raise KeyboardInterrupt
        frame = frame.f_back


def _serve(end: Any, interrupter: Interrupter, plan: WorkerPlan) -> None:
    functions: dict[bytes, Callable[..., Any]] = {}
    most_memory = plan.most_memory
    if most_memory is not None:  # loaded before a task can have taken all descriptors
        from polyproc._platform.memory import resident_bytes

    while (message := _next(end, interrupter)) is not None:
        place, opened, task = message
        began = time.perf_counter()
        if not opened:  # arguments that cannot be opened: that task's error
            end.put((FAILED, _pack_error(task), 0.0))
        elif task[1] & BATCH:
            _run_batch(end, interrupter, place, task, functions, plan.is_executors)
        else:
            done, value = _run_one(interrupter, place, task, functions)
            if not done and type(value) is Terminated:  # its class, and not what an object of the user's says of it
                return  # it has no answer, and ends
            _answer(end, done, value, time.perf_counter() - began, plan.is_executors)
            del value
        del task, message
        interrupter.done(place)
        if most_memory is not None and resident_bytes() > most_memory:
            most_memory = None  # it is told once
            end.put((LEAVING, None, 0.0))


def _next(end: Any, interrupter: Interrupter) -> tuple[int, bool, Any] | None:
    """Wait for the next task; None when this worker is to end."""
    try:
        interrupter.is_open = True
        message: tuple[int, bool, Any] | None = None if interrupter.terminated else end.get()
        interrupter.is_open = False
    except Terminated:
        return None
    return None if message is None or (message[1] and message[2] is None) else message


def _run_one(
    interrupter: Interrupter, place: int, task: Any, functions: dict[bytes, Callable[..., Any]]
) -> tuple[bool, Any]:
    try:
        return _attempt(interrupter, place, task, functions)
    except BaseException as error:  # noqa: BLE001  (an interruption that came as the task ended)
        return False, error


def _answer(end: Any, done: bool, value: Any, seconds: float, is_executors: bool) -> None:
    """Send what came of a task."""
    if not done:
        end.put((FAILED, _pack_error(value), seconds))
        return
    try:
        end.put((DONE, value, seconds))
    except BaseException as error:  # noqa: BLE001  (the user's __reduce__ may raise anything)
        end.put((FAILED, _pack_error(_not_sent(error, value, is_executors)), seconds))


def _attempt(
    interrupter: Interrupter, place: int, task: Any, functions: dict[bytes, Callable[..., Any]]
) -> tuple[bool, Any]:
    try:
        interrupter.begin(place)
        packed, kind, payload = task
        value = _run(packed, kind, payload, functions)
        interrupter.is_open = False
        interrupter.running = 0
    except BaseException as error:  # noqa: BLE001  (SystemExit and the like too: not the worker's end)
        interrupter.is_open = False
        interrupter.running = 0
        return False, error
    return True, value


def _run_batch(
    end: Any,
    interrupter: Interrupter,
    place: int,
    task: Any,
    functions: dict[bytes, Callable[..., Any]],
    is_executors: bool,
) -> None:
    """Do chunks until the batch is done, has taken too long or is taken back; send what came of each."""
    packed, kind, start, stop, data = task
    outcomes: list[tuple[bool, Any]] = []
    try:
        chunks = pickle.loads(data)[start:stop]
    except BaseException as error:  # noqa: BLE001
        end.put((PARTS, [(False, _pack_error(error))] * (stop - start), 0.0))
        return
    interrupter.begin_batch(place)
    began = now = time.perf_counter()
    until = began + _SLICE
    for chunk in chunks:
        if not interrupter.take_next():
            break
        try:
            interrupter.is_open = True
            value = _run(packed, kind - BATCH, chunk, functions)
            interrupter.is_open = False
        except BaseException as error:  # noqa: BLE001  (as in `_attempt`)
            interrupter.is_open = False
            outcomes.append((False, _pack_error(error)))
            if issubclass(type(error), KeyboardInterrupt):
                break
        else:
            outcomes.append((True, value))
            del value
        now = time.perf_counter()
        if now > until or interrupter.terminated:
            break
    try:
        end.put((PARTS, outcomes, now - began))
    except BaseException:  # noqa: BLE001  (one of them cannot be pickled: it is found, and the others travel)
        end.put((PARTS, [_that_travels(*outcome, is_executors) for outcome in outcomes], now - began))


def _that_travels(success: bool, value: Any, is_executors: bool) -> tuple[bool, Any]:
    try:
        dumps_to_keep((value,))
    except BaseException as error:  # noqa: BLE001  (as in `_answer`)
        return False, _pack_error(_not_sent(error, value, is_executors))
    return success, value


def _not_sent(error: BaseException, value: object, is_executors: bool) -> BaseException:
    """Return the error of a result that could not be sent, with the path to what it is about."""
    try:
        from polyproc._pickling.diagnosis import in_callers_words

        in_callers_words(error, (r"obj\[0\]", "result"))
    except BaseException:  # noqa: BLE001  (an error of the user's that cannot be looked at)
        pass
    if is_executors:
        return error
    failed = MaybeEncodingError(error, value)
    for note in notes_of(error):
        failed.add_note(note)
    return failed


def _run(packed: bytes, kind: int, payload: Any, functions: dict[bytes, Callable[..., Any]]) -> Any:
    function = functions.get(packed)
    if function is None:
        threads = threading.enumerate() if (count := _thread._count()) else ()
        function = pickle.loads(packed)
        if _thread._count() > count:
            from polyproc._process.receiving import note_threads

            note_threads(threads)
        # An object that is called may change with each call, and is made anew for each; a function is not.
        if isinstance(function, FunctionType | BuiltinFunctionType | type):
            if len(functions) >= _MAX_FUNCTIONS:
                functions.clear()
            functions[packed] = function
    return call(function, kind, payload)


def call(function: Callable[..., Any], kind: int, payload: Any) -> Any:
    """Do what a task is. A mapped function's StopIteration would end the results early: it is an error (PEP 479)."""
    if kind == CALL:
        args, kwargs = payload
        return function(*args, **kwargs)
    values = list(map(function, payload) if kind == MAP else starmap(function, payload))
    if len(values) < len(payload):
        raise RuntimeError("a mapped function raised StopIteration")
    return values


def _pack_error(error: BaseException) -> ErrorSent:
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001  (the user's `__notes__`, or the like)
        text = f"{type(error).__name__}, which cannot be shown\n"
    names = names_of(error)
    try:
        return dumps(ExceptionWithTraceback(sendable(error), text)), names
    except BaseException as failure:  # noqa: BLE001  (it cannot travel: its traceback does)
        return pickle.dumps(RemoteError(text + reason_of(failure))), names
