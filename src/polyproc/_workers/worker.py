"""What runs in a worker, which reads a task, runs it, sends the result, until told to end; and what workers say.

A task is (pickled function, kind, payload), or a batch of payloads. Arguments that cannot be opened, and results that
cannot be pickled, are that task's error alone.
"""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
import _signal as signal  # `signal` makes enumerations of it
import _thread
import functools
import time
from itertools import starmap
from types import BuiltinFunctionType, FrameType, FunctionType, GeneratorType

from polyproc._base.errors import RemoteError
from polyproc._base.modules import Later, load, loaded, os, public
from polyproc._base.typing import Any, Callable, Iterable, Sequence
from polyproc._pickling.pickler import (
    ExceptionWithTraceback,
    InheritedValue,
    dumps,
    dumps_to_keep,
    notes_of,
    reason_of,
    sendable,
)
from polyproc._platform.circumstances import limit_threads
from polyproc._process.process import current_process
from polyproc._workers.interrupter import Interrupter, Terminated, is_importing, leave_copy, signal_again

# What workers say. Who hears it runs no code of the user's before it knows whose outcome it is.
#
# A message is a kind, a value and the seconds that it took. Values that are plain data travel in it. What else calls
# have returned travels beside it, closed: to open it runs code of the user's, for as long as that likes. So it is
# opened last, when the scheduler knows that the call was answered, and where nothing waits for that (engine.py:
# Outcomes).

# It is ready, or why it cannot be; a task's value, or its error (`ErrorSent`); what came of a batch, each a value or an
# error; that it has grown too large. The pool says to itself, by the same way: look at the clock. It hears of several
# tasks that are done in one message.
READY, FAILED_START, DONE, FAILED, PARTS, LEAVING, LOOK, ALL_DONE = 0, 1, 2, 3, 4, 5, 6, 7
CLOSED = 8  # the value travels beside the message: in place of it is what the scheduler has to know (`beside`)

ErrorSent = tuple[bytes, str]  # its pickle, and the names of what it is one of
Message = tuple[int, Any, float]
_MAX_NAMES = 1000
_MAIN, _AS_MAIN = "__main__", "__mp_main__"  # the same, in a child that has imported it
_ATOMS = (bytes, str, int, float, bool, type(None))
_module_of: Any = type.__dict__["__module__"].__get__
_name_of: Any = type.__dict__["__qualname__"].__get__
_mro_of: Any = type.__dict__["__mro__"].__get__


class Closed:
    """What a call has returned or raised. Opened once."""

    __slots__ = ("_open", "_success")

    def __init__(self, open: Callable[[], Any], success: bool = True) -> None:
        self._open = open
        self._success = success

    def opened(self) -> tuple[bool, Any]:
        """Return whether it is a value, and it or the error; one that cannot be opened is an error."""
        try:
            return self._success, self._open()
        except BaseException as error:  # noqa: BLE001  (of the user's code: that call's alone)
            return False, error


class ClosedError(Closed):
    """What a call has raised, and the names of what that is one of."""

    __slots__ = ("_names",)

    def __init__(self, open: Callable[[], Any], names: str) -> None:
        super().__init__(open, False)
        self._names = names

    def is_one_of(self, kinds: tuple[type[BaseException], ...]) -> bool:
        """Whether `except kinds` would catch it."""
        names = self._names.split("|")
        return any(_full_name(kind) in names for kind in kinds)


def add_attempts(error: BaseException, attempt: int, attempts: int) -> None:
    """Note at an error which attempt of how many it was."""
    try:
        error.add_note(f"attempt {attempt} of {attempts}")
    except BaseException:  # noqa: BLE001  (its `__notes__` is no list, or its method is the user's)
        pass


class ClosedOutcomes(list[tuple[bool, Closed]]):
    """The closed outcomes of a batch."""

    def opened(self) -> list[tuple[bool, Any]]:
        """Return all, opened."""
        return [closed.opened() for _, closed in self]


def function_name(function: Any) -> str:
    """Return the name of a function, for those who read of its failure, and to remember what it costs."""
    try:
        while isinstance(function, functools.partial):
            function = function.func
        name = function.__qualname__
    except Exception:  # noqa: BLE001  (it has none, or the user's code raised)
        return ""
    return name if type(name) is str else ""


def names_of(error: BaseException) -> str:
    """Return the names of the classes that an error is one of."""
    return "|".join(map(_full_name, _mro_of(type(error))))[:_MAX_NAMES]


def _full_name(kind: type) -> str:
    module = _module_of(kind)
    return f"{_MAIN if module == _AS_MAIN else module}:{_name_of(kind)}"


def is_atom(message: Message) -> bool:
    """Whether a message's value is surely plain data."""
    return type(message[1]) in _ATOMS


def beside(message: Message) -> tuple[Message, Any]:
    """Return a message without its value, and that."""
    kind, value, seconds = message
    outcomes: Any = None
    if kind == PARTS:
        outcomes = [success for success, _ in value]
        value = [part for _, part in value]
    elif kind == FAILED:
        outcomes = value[1]
    elif kind == DONE:
        value = (value,)  # so that a part of it has a path: see diagnosis.py
    return (kind | CLOSED, outcomes, seconds), value


def heard(message: Any, whole: Callable[[], Any] | None = None) -> Any:
    """Return a message with a value that is there, or closed. `whole` opens what has travelled beside it."""
    kind, value, seconds = message
    if kind == FAILED:
        packed = value[0]
        return kind, ClosedError(lambda: pickle.loads(packed), value[1]), seconds
    if kind == PARTS and not all([success for success, _ in value]):
        return kind, _parts(lambda: [part for _, part in value], [success for success, _ in value]), seconds
    if not kind & CLOSED:
        return message
    assert whole is not None  # it has travelled beside
    kind -= CLOSED
    if kind == FAILED:
        return kind, ClosedError(lambda: pickle.loads(whole()[0]), value), seconds
    if kind == PARTS:
        return kind, _parts(whole, value), seconds
    return kind, Closed(lambda: whole()[0] if kind == DONE else whole()), seconds


def _parts(whole: Callable[[], Sequence[Any]], flags: Sequence[bool]) -> ClosedOutcomes:
    opened: list[tuple[bool, Any]] = []

    def part(index: int) -> Any:
        if not opened:
            opened.append(Closed(whole).opened())
        success, found = opened[0]
        if not success:  # one of them, nobody knows which
            raise found
        return found[index] if flags[index] else pickle.loads(found[index][0])

    return ClosedOutcomes((flag, Closed(lambda index=index: part(index), flag)) for index, flag in enumerate(flags))  # type: ignore[misc]


def to_bytes(message: Message, dumps: Callable[[Any], bytes]) -> bytes:
    """Return a message as one string of bytes: its value is pickled by `dumps`, which raises what pickling raises."""
    if is_atom(message):
        return b"\0" * 4 + pickle.dumps(message)
    without, value = beside(message)
    head = pickle.dumps(without)
    return b"".join((len(head).to_bytes(4, "little"), head, dumps(value)))


def of_bytes(data: Any, buffers: Sequence[Any] = ()) -> Any:
    """Return what `to_bytes` was given, as `heard` has it; `buffers` are those that its value's pickle wants."""
    view = memoryview(data)
    size = int.from_bytes(view[:4], "little")
    if not size:
        return heard(pickle.loads(view[4:]))
    return heard(pickle.loads(view[4 : 4 + size]), lambda: pickle.loads(view[4 + size :], buffers=buffers))


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


class WorkerPlan:
    """What a worker is told when it starts. No named tuple: each worker would make a constructor.

    Attributes:
        initializer: what it calls first.
        initargs: its arguments.
        most_memory: above how many resident bytes it is to be replaced.
        is_executors: whether what pickling of a result raised is told as it is, and not as a MaybeEncodingError.
    """

    def __init__(
        self,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        most_memory: int | None,
        is_executors: bool,
    ) -> None:
        self.initializer, self.initargs = initializer, initargs
        self.most_memory = most_memory
        self.is_executors = is_executors


def worker(end: Any, cell: Any, threads: int | None, kept: InheritedValue) -> None:
    """Serve until told to end; numerical libraries use so many `threads`."""
    plan = kept.value
    end.begin()
    # A Ctrl-C is the parent's to decide upon; an executor waits for what runs, so it ends that.
    signal.signal(signal.SIGINT, _interrupt if plan.is_executors else signal.SIG_IGN)
    config = current_process()._config
    config["nests"] = True  # it may start processes: they are daemons too, and end with it
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
    if not config.pop("parked", False):  # else it is known
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
        from polyproc._platform.processes import resident_bytes

    while (message := _next(end, interrupter)) is not None:
        place, opened, task = message
        began = time.perf_counter()
        if not opened:  # arguments that cannot be opened: that task's error
            end.put((FAILED, _pack_error(task), 0.0))
        elif task[1] & BATCH:
            _run_batch(end, interrupter, place, task, functions, plan.is_executors)
        else:
            done, value = _attempt(interrupter, place, task, functions)
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
    """Do a task; return whether that is a value, and it or the error."""
    try:
        try:
            interrupter.begin(place)
            packed, kind, payload = task
            function = functions.get(packed)
            value = call(_load(packed, functions) if function is None else function, kind, payload)
            interrupter.is_open = False
            interrupter.running = 0
        except BaseException as error:  # noqa: BLE001  (SystemExit and the like too: not the worker's end)
            interrupter.is_open = False
            interrupter.running = 0
            return False, error
        return True, value
    except BaseException as error:  # noqa: BLE001  (an interruption that came as the task ended)
        return False, error


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
            function = functions.get(packed)
            value = call(_load(packed, functions) if function is None else function, kind - BATCH, chunk)
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


def _load(packed: bytes, functions: dict[bytes, Callable[..., Any]]) -> Callable[..., Any]:
    """Open a function, and keep it for the next call if it is one that never changes."""
    # A program without `threading` does without it: it has much to do after a fork.
    threading: Any = loaded("threading") if (count := _thread._count()) else None
    threads = () if threading is None else threading.enumerate()
    function: Callable[..., Any] = pickle.loads(packed)
    if _thread._count() > count:
        from polyproc._process.receiving import note_threads

        note_threads(threads)
    # An object that is called may change with each call, and is made anew for each; a function is not.
    if isinstance(function, FunctionType | BuiltinFunctionType | type):
        if len(functions) >= _MAX_FUNCTIONS:
            functions.clear()
        functions[packed] = function
    return function


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
