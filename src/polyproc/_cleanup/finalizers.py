"""Callbacks that run once: when an object is collected, when called, or at exit in order of priority."""

from __future__ import annotations

import itertools
import os
import weakref

from polyproc._base.log import log
from polyproc._base.modules import public
from polyproc._base.process_state import FINALIZERS, LATE_FINALIZERS, exit_sequence
from polyproc._base.typing import Any, Callable, Mapping, Sequence

_Key = tuple[int | None, int]
_finalizer_registry: dict[_Key, Finalize] = {}
_finalizer_counter = itertools.count()


@public("util")
class Finalize:
    """Call `callback` once: when `obj` is collected, when this is called, or at exit.

    Args:
        obj: may be None when `exitpriority` is given.
        callback: what to call.
        args: its positional arguments.
        kwargs: its keyword arguments.
        exitpriority: finalizers with one run at exit, the highest first; those without do not.

    A finalizer belongs to the process that made it: in a forked child it does nothing.
    """

    def __init__(
        self,
        obj: object,
        callback: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        exitpriority: int | None = None,
    ) -> None:
        if exitpriority is not None and not isinstance(exitpriority, int):
            raise TypeError(f"Exitpriority ({exitpriority!r}) must be None or int, not {type(exitpriority)!s}")
        if obj is not None:
            self._weakref: weakref.ref[object] | None = weakref.ref(obj, self)
        elif exitpriority is None:
            raise ValueError("Without object, exitpriority cannot be None")
        else:
            self._weakref = None
        self._callback: Callable[..., Any] | None = callback
        self._args = args
        self._kwargs = dict(kwargs or {})
        self._key: _Key = (exitpriority, next(_finalizer_counter))
        self._pid = os.getpid()
        _finalizer_registry[self._key] = self

    def __call__(self, wr: object = None) -> Any:
        """Run the callback unless it has run, was cancelled, or belongs to another process."""
        try:
            del _finalizer_registry[self._key]
        except KeyError:
            log.sub_debug("finalizer no longer registered")
            return None
        callback, args, kwargs = self._callback, self._args, self._kwargs
        self._forget()
        if self._pid != os.getpid():
            log.sub_debug("finalizer ignored because different process")
            return None
        assert callback is not None  # it was registered
        return callback(*args, **kwargs)

    def cancel(self) -> None:
        """Forget the callback."""
        if _finalizer_registry.pop(self._key, None) is not None:
            self._forget()

    def still_active(self) -> bool:
        """Return whether the callback may still run."""
        return self._key in _finalizer_registry

    def _forget(self) -> None:
        self._weakref = self._callback = None
        self._args, self._kwargs = (), {}

    def __repr__(self) -> str:
        obj = self._weakref() if self._weakref is not None else None
        if self._callback is None:
            return f"<{type(self).__name__} object, dead>"
        text = f"<{type(self).__name__} object, callback={getattr(self._callback, '__name__', self._callback)}"
        if self._args:
            text += f", args={self._args}"
        if self._kwargs:
            text += f", kwargs={self._kwargs}"
        if self._key[0] is not None:
            text += f", exitpriority={self._key[0]}"
        return text + (">" if obj is not None or self._weakref is None else ", object gone>")


def run_finalizers(minpriority: int | None = None) -> None:
    """Run the finalizers that have an exit priority of at least `minpriority` (all, for None), highest first.

    An exception of one is printed and does not stop the others.
    """

    def due(key: _Key) -> bool:
        return key[0] is not None and (minpriority is None or key[0] >= minpriority)

    for key in sorted((k for k in list(_finalizer_registry) if due(k)), reverse=True, key=_order):
        finalizer = _finalizer_registry.get(key)
        if finalizer is not None:
            log.sub_debug("calling %s", finalizer)
            try:
                finalizer()
            except Exception:  # noqa: BLE001  (a user's callback: reported, and the exit goes on)
                _print_exception()
    if minpriority is None:
        _finalizer_registry.clear()


def _order(key: _Key) -> tuple[int, int]:
    return (key[0] or 0, key[1])


def _print_exception() -> None:
    import traceback

    traceback.print_exc()


exit_sequence.add(FINALIZERS, lambda: run_finalizers(0))
exit_sequence.add(LATE_FINALIZERS, run_finalizers)
