"""Pickle functions and classes by value where they cannot be found by name; the only import of cloudpickle.

cloudpickle takes everything of `__main__` by value. Here a function or class that a child can find goes by
reference, so that it is the same class there.
"""

from __future__ import annotations

import copyreg
import io
import sys
from collections.abc import Callable
from types import FunctionType, MethodType, ModuleType
from typing import IO, Any

import cloudpickle

from polyproc._pickling.by_value import main_policy

Reducer = Callable[[Any], Any]
Keeper = Callable[[Any], bool]

_BY_NAME = (FunctionType, type)


class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    """cloudpickle's pickler, with our reducers, and by reference first."""

    def __init__(
        self, file: IO[bytes], protocol: int | None, reducers: dict[type, Reducer], keep: Keeper | None
    ) -> None:
        # One dictionary, which the pickler looks into without a call: cloudpickle's own table is a chain of several.
        # The pickler reads the attribute once, as it is made.
        self.dispatch_table = {
            **copyreg.dispatch_table,
            **cloudpickle.Pickler._dispatch_table,
            MethodType: _reduce_method,
            **reducers,
        }
        super().__init__(file, protocol, keep)

    def reducer_override(self, obj: Any) -> Any:
        """Leave to the ordinary pickler what a child finds by name. Called for each object: it is to be quick."""
        if not isinstance(obj, _BY_NAME):
            return NotImplemented
        reducer = self.dispatch_table.get(type(obj))
        if reducer is not None:
            return reducer(obj)
        if _is_found_by_name(obj):
            return NotImplemented
        return super().reducer_override(obj)


def _reduce_method(method: Any) -> tuple[Any, ...]:
    """Describe a bound method as pickle does, by its name and what it is bound to; else by its function.

    cloudpickle has the function at once, which for a classmethod is one that no name leads to: it went by value, with
    a copy of its module's globals.
    """
    name = method.__func__.__name__
    if getattr(method.__self__, name, None) == method:
        return getattr, (method.__self__, name)
    return MethodType, (method.__func__, method.__self__)


def _is_found_by_name(obj: Any) -> bool:
    module_name = getattr(obj, "__module__", None)
    module = sys.modules.get(module_name) if isinstance(module_name, str) else None
    if module is None or module_name is None:
        return False
    if module is sys.modules.get("__main__"):
        late = main_policy.late
        if main_policy.by_value or (late is not None and late(obj.__qualname__.partition(".")[0])):
            return False
    return _lookup(module, obj.__qualname__) is obj


def _lookup(module: ModuleType, qualname: str) -> object:
    found: object = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def dumps(obj: object, protocol: int | None, reducers: dict[type, Reducer], keep: Keeper | None = None) -> bytes:
    """Pickle `obj`; the result opens with the ordinary unpickler, where cloudpickle is installed."""
    buffer = io.BytesIO()
    ByValuePickler(buffer, protocol, reducers, keep).dump(obj)
    return buffer.getvalue()
