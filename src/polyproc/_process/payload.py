"""The process object on its way to a child that shares no memory: marshalled where that is exact, else pickled.

A target that is found by name, with arguments of the plainest types, needs no pickle module in the child: `_pickle`
and what it imports cost a bare interpreter more than all else that it loads for us.
"""

from __future__ import annotations

import marshal
import sys

from polyproc._lazy import load
from polyproc._process import kinds
from polyproc._sent import import_sent

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any

    from polyproc._process.process import BaseProcess
    from polyproc._start.target_code import SentModule

_PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes))
_CLASSES = ("Process", "ForkProcess", "SpawnProcess", "ForkServerProcess")
_LIMIT = 1000


def try_marshal(process: BaseProcess[Any], module: SentModule | None = None) -> bytes | None:
    """Return the process object as marshalled state, or None if only pickle does it justice.

    Args:
        process: what to send.
        module: name, file and code of its target's module, if that is to be sent too.
    """
    cls = type(process)
    if cls.__name__ not in _CLASSES or (cls is not getattr(kinds, cls.__name__, None) and "_launcher" not in vars(cls)):
        return None
    state = process.__dict__.copy()
    target = state.pop("_target")
    named = None if target is None else _name_of(target)
    if target is not None and named is None:
        return None
    if (state["_args"] or state["_kwargs"]) and not _is_plain((state["_args"], state["_kwargs"]), [_LIMIT]):
        return None
    config = state["_config"] = state["_config"].copy()
    config["authkey"] = bytes(config["authkey"])
    try:
        return marshal.dumps((cls.__name__, named, state, module))
    except ValueError:  # a subclass of str as its name, or the like
        return None


def _name_of(target: object) -> tuple[str, str] | None:
    """Return (module, name) of a function that is found by them, outside of a main module."""
    module = getattr(target, "__module__", None)
    name = getattr(target, "__qualname__", None)
    if type(module) is not str or type(name) is not str or type(target) not in (type(_name_of), type(len), type):
        return None
    if module in ("__main__", "__mp_main__"):
        definitions: Any = load("polyproc._pickling.main_definitions", "main_definitions")
        if not definitions.goes_by_name(target):
            return None
    return (module, name) if getattr(sys.modules.get(module), name, None) is target else None


def _is_plain(value: object, left: list[int]) -> bool:
    """Return whether marshal brings `value` over exactly: built-in types, no subclass, a tree of limited size."""
    left[0] -= 1
    kind = type(value)
    if kind in _PLAIN:
        return True
    if left[0] < 0:
        return False
    if kind is tuple or kind is list or kind is set or kind is frozenset:
        return all(_is_plain(item, left) for item in value)  # type: ignore[attr-defined]
    if kind is dict:
        return all(_is_plain(k, left) and _is_plain(v, left) for k, v in value.items())  # type: ignore[attr-defined]
    return False


def unmarshal(data: bytes) -> BaseProcess[Any]:
    """Make, in the child, the process object that `try_marshal` described."""
    class_name, named, state, sent = marshal.loads(data)
    cls = getattr(kinds, class_name)
    process: BaseProcess[Any] = cls.__new__(cls)
    process.__dict__.update(state)
    process.authkey = process.authkey
    process._target = None
    if named is not None:
        module, name = named
        if module != "__main__":
            if sent is not None and module not in sys.modules:
                package = module.rpartition(".")[0]
                if package:
                    __import__(package)
                if module not in sys.modules:
                    import_sent(*sent)
            process._target = load(module, name)  # type: ignore[assignment]
        else:
            try:
                process._target = getattr(sys.modules["__main__"], name)
            except AttributeError:
                raise AttributeError(f"Can't get attribute {name!r} on {sys.modules['__main__']!r}") from None
    return process
