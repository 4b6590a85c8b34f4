"""What workers say. Who hears it runs no code of the user's before it knows whose outcome it is.

A message is a kind, a value and the seconds that it took. Values that are plain data travel in it. What else calls have
returned travels beside it, closed: to open it runs code of the user's, for as long as that likes. So it is opened last,
when the scheduler knows that the call was answered, and where nothing waits for that (engine.py: Outcomes).
"""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
import functools

from polyproc._base.typing import Any, Callable, Sequence

# It is ready, or why it cannot be; a task's value, or its error (`ErrorSent`); what came of a batch, each a value or an
# error; that it has grown too large. The pool says to itself, by the same way: look at the clock.
READY, FAILED_START, DONE, FAILED, PARTS, LEAVING, LOOK = 0, 1, 2, 3, 4, 5, 6
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


class ClosedOutcomes(list[tuple[bool, Closed]]):
    """Those of a batch."""

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
