"""What runs in a worker: read a task, run it, send the result, until told to end.

Envelope and payload are pickled apart: a payload that cannot be opened or made is that task's error alone.
"""

from __future__ import annotations

import pickle
import signal
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from polyproc._errors import RemoteError, RemoteTraceback
from polyproc._pickling.pickler import dumps

READY, DONE, FAILED_START = "ready", "done", "failed"


class MaybeEncodingError(Exception):
    """A result that could not be pickled: the error and the result, as text."""

    def __init__(self, exc: object, value: object) -> None:
        self.exc = _safe_repr(exc)
        self.value = _safe_repr(value)
        super().__init__(self.exc, self.value)

    def __str__(self) -> str:
        return f"Error sending result: '{self.value}'. Reason: '{self.exc}'"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  (a broken __repr__ must not cost the worker)
        return f"<{type(value).__name__} object>"


class ExceptionWithTraceback:
    """An exception on its way, with its traceback as text; unpickles to the exception."""

    def __init__(self, error: BaseException, text: str) -> None:
        self.error = error
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild_exception, (self.error, self.text)


def rebuild_exception(error: BaseException, text: str) -> BaseException:
    """Return the exception, caused by its traceback."""
    error.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
    return error


def mapstar(call: tuple[Callable[[Any], Any], Iterable[Any]]) -> list[Any]:
    """Call a function for each item of a chunk."""
    return list(map(*call))


def starmapstar(call: tuple[Callable[..., Any], Iterable[Any]]) -> list[Any]:
    """The same, with each item as the arguments."""
    function, chunk = call
    return [function(*args) for args in chunk]


def worker(channel: Any, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    """Serve until the channel ends or an empty message comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's to decide upon
    if initializer is not None:
        try:
            initializer(*initargs)
        except BaseException as error:
            channel.send_bytes(pickle.dumps((FAILED_START, 0, 0, False)) + _pack_error(error))
            raise
    channel.send_bytes(pickle.dumps((READY, 0, 0, True)))
    while True:
        try:
            data = channel.recv_bytes()
        except (EOFError, OSError):
            return
        if not data:
            return
        channel.send_bytes(_run(data))


def _run(data: bytes) -> bytes:
    (job, index), payload = _split(data)
    try:
        function, args, kwargs = pickle.loads(payload)
        result = function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001  (SystemExit and the like too: that task's error, not the worker's end)
        return pickle.dumps((DONE, job, index, False)) + _pack_error(error)
    try:
        packed = dumps(result)
    except Exception as error:  # noqa: BLE001
        packed = _pack_error(MaybeEncodingError(error, result))
        return pickle.dumps((DONE, job, index, False)) + packed
    return pickle.dumps((DONE, job, index, True)) + packed


def _split(data: bytes) -> tuple[tuple[int, int], memoryview]:
    job, index = (int.from_bytes(data[i : i + 8], "little") for i in (0, 8))
    return (job, index), memoryview(data)[16:]


def _pack_error(error: BaseException) -> bytes:
    text = "".join(traceback.format_exception(error))
    try:
        packed = dumps(ExceptionWithTraceback(error, text))
        pickle.loads(packed)
    except BaseException:  # noqa: BLE001  (it cannot travel: its traceback does)
        return pickle.dumps(RemoteError(text))
    return packed
