"""Bring an exception to another process as itself.

pickle calls an exception's class with `args` again. That fails where `__init__` takes other arguments than it hands to
its base class, and where it does not fail it may build another message. Here such an exception is restored as it was:
made by its built-in base class, given its `args` and attributes, and its own `__init__` is not called. A class that
says how it is pickled (`__reduce__`, `__reduce_ex__`) is taken at its word first.
"""

from __future__ import annotations

import copyreg
from types import WrapperDescriptorType

from polyproc._base.errors import RemoteTraceback
from polyproc._base.modules import public
from polyproc._base.typing import Any, cast
from polyproc._pickling.pickler import dumps, loads

_PLAIN = {bool, int, float, complex, str, bytes, type(None)}
_IS_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made at run time, and not part of the interpreter


def sendable(error: BaseException) -> object:
    """Return what arrives as `error` when it is pickled: `error`, or a form that restores it without its `__init__`.

    Raises:
        BaseException: what pickling or unpickling raised, where neither arrives.
    """
    kind = type(error)
    if not _reduces_as_built_in(kind):
        forms: tuple[object, ...] = (error, _Restored(error))
    elif not isinstance(kind.__init__, WrapperDescriptorType) or isinstance(error, BaseExceptionGroup):
        forms = (_Restored(error), error)
    elif not vars(error) and all(type(arg) in _PLAIN for arg in error.args):
        return error  # most are of this kind: nothing to be tried
    else:
        forms = (error, _Restored(error))
    failure: BaseException | None = None
    for form in forms:
        try:
            if isinstance(loads(dumps(form)), BaseException):
                return form
        except BaseException as why:  # noqa: BLE001  (user code runs: the next form is tried, or it is raised below)
            failure = failure or why
    raise failure or TypeError(f"{kind.__qualname__} unpickles to something that is no exception")


def reason_of(failure: BaseException) -> str:
    """Return a line for the end of an exception's text that says why only the text arrives."""
    lines = [type(failure).__name__]
    try:
        lines[0] += f": {failure}"
        lines += notes_of(failure)
    except BaseException:  # noqa: BLE001  (the user's own, which cannot be shown)
        pass
    return "It arrives as text, since it cannot be pickled: " + "; ".join(lines) + "\n"


@public("pool")
class ExceptionWithTraceback:
    """An exception on its way, with its traceback as text; unpickles to the exception."""

    def __init__(self, error: object, text: str) -> None:
        self.error = error  # or the form of one that is sent
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild_exception, (self.error, self.text)


def rebuild_exception(error: BaseException, text: str) -> BaseException:
    """Return the exception, caused by its traceback."""
    error.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
    return error


def notes_of(error: BaseException) -> list[str]:
    """Return the notes of an exception; none where the user's code does not let them be read."""
    try:
        return [note for note in getattr(error, "__notes__", None) or () if isinstance(note, str)]
    except BaseException:  # noqa: BLE001
        return []


class _Restored:
    """An exception on its way; unpickles to one of the same class, with the same `args` and attributes."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        error = self.error
        reduced = cast("tuple[Any, ...]", _built_in_base(type(error)).__reduce__(error))
        arguments, state, own = reduced[1], reduced[2:], error.args
        if isinstance(error, BaseExceptionGroup):
            arguments = own = (error.message, [_Restored(part) for part in error.exceptions])
        slots = {name: getattr(error, name) for name in copyreg._slotnames(type(error)) if hasattr(error, name)}  # type: ignore[attr-defined]
        return _restore, (type(error), arguments, own, state[0] if state else None, slots)


def _restore(
    kind: type[BaseException],
    arguments: tuple[Any, ...],
    args: tuple[Any, ...],
    state: dict[str, Any] | None,
    slots: dict[str, Any],
) -> BaseException:
    base = _built_in_base(kind)
    error: BaseException = base.__new__(kind, *arguments)
    try:
        base.__init__(error, *arguments)  # an OSError's errno, a UnicodeError's position
    except TypeError:  # its own `__init__` gave the base class other arguments
        pass
    error.args = args
    if state:
        error.__setstate__(state)
    for name, value in slots.items():
        setattr(error, name, value)
    return error


def _built_in_base(kind: type[BaseException]) -> type[BaseException]:
    while kind.__flags__ & _IS_HEAP_TYPE:
        kind = kind.__base__  # type: ignore[assignment]  # an exception's base has its layout, and is one
    return kind


def _reduces_as_built_in(kind: type[BaseException]) -> bool:
    base = _built_in_base(kind)
    return kind.__reduce__ is base.__reduce__ and kind.__reduce_ex__ is base.__reduce_ex__
