"""Reducers under the standard library's private names: picklers of others, as dill's, use them."""

from __future__ import annotations

import functools

from polyproc._base.modules import public
from polyproc._base.typing import Any, Final
from polyproc._pickling import handle_passing, pickler, sending


def _reduce_method(method: Any) -> tuple[Any, ...]:
    return getattr, (method.__self__, method.__func__.__name__)


def _reduce_method_descriptor(descriptor: Any) -> tuple[Any, ...]:
    return getattr, (descriptor.__objclass__, descriptor.__name__)


def _reduce_partial(partial: functools.partial[Any]) -> tuple[Any, ...]:
    return _rebuild_partial, (partial.func, partial.args, partial.keywords or {})


def _rebuild_partial(func: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> functools.partial[Any]:
    return functools.partial(func, *args, **keywords)


@public("reduction")
class AbstractReducer:
    """The class that a program may extend to change how objects are pickled: `context.reducer`."""

    ForkingPickler = pickler.ForkingPickler
    register: Final = staticmethod(pickler.register)
    dump: Final = staticmethod(pickler.dump)
    send_handle: Final = staticmethod(handle_passing.send_handle)
    recv_handle: Final = staticmethod(handle_passing.recv_handle)
    DupFd: Final = staticmethod(sending.DupFd)

    def __init__(self, *args: Any) -> None:
        pass
