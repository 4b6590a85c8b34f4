"""What a child leaves: its result or exception in the box, and its open files flushed."""

from __future__ import annotations

import marshal
from io import BufferedRandom, BufferedWriter, TextIOWrapper

from polyproc._lazy import load
from polyproc._process import box as box_module
from polyproc._process.box import Box

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any

WRITERS = {TextIOWrapper, BufferedWriter, BufferedRandom}
_PLAIN = {bool, int, float, str, bytes}
_PICKLER = "polyproc._pickling.pickler"
_EXCEPTIONS = "polyproc._pickling.exceptions"


def commit_value(box: Box, value: object) -> None:
    """Put what the target returned into the box."""
    if isinstance(value, bool | int | float | str | bytes) and type(value) in _PLAIN:
        box.commit(box_module.PLAIN, marshal.dumps(value))
        return
    try:
        data: bytes = load(_PICKLER, "dumps")(value)  # type: ignore[operator]
    except BaseException as error:  # noqa: BLE001  (a user's __reduce__: the process itself did well)
        box.commit(box_module.UNPICKLABLE, marshal.dumps((type(error).__name__, format_exception(error))))
    else:
        box.commit(box_module.PICKLED, data)


def commit_exception(box: Box, error: BaseException, text: str) -> None:
    """Put an exception into the box, whole if it can be pickled and unpickled, else by name and text."""
    try:
        form = load(_EXCEPTIONS, "sendable")(error)  # type: ignore[operator]
        data: bytes = load(_PICKLER, "dumps")((form, text))  # type: ignore[operator]
    except BaseException as failure:  # noqa: BLE001  (it cannot travel: its name and its traceback do)
        text += load(_EXCEPTIONS, "reason_of")(failure)  # type: ignore[operator]
        box.commit(box_module.RAISED_TEXT, marshal.dumps((type(error).__qualname__, text)))
    else:
        box.commit(box_module.RAISED, data)


def format_exception(error: BaseException) -> str:
    """Return the traceback as the interpreter prints it."""
    return "".join(load("traceback", "format_exception")(error))  # type: ignore[operator]


def flush_file(file: Any) -> None:
    """Flush an open file."""
    try:
        if not file.closed:
            file.flush()
    except (OSError, ValueError):  # read-only, or its descriptor is gone
        pass
