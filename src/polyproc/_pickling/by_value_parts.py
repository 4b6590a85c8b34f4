"""Functions that pickles by value call as they are opened: definitions of another process's main come into ours.

What a process has defined in main, its descendants define in their own main, too, in the newest version: so functions
that they had find it, as do those that will arrive; and what they have set there themselves (an initializer) is found
by what arrives. No process defines anything in a main that is not its parent's: what comes from a child or from a
stranger has a namespace of its own, which begins as a copy of ours.
"""

from __future__ import annotations

import functools
import marshal
import pickle
import sys
from types import CellType, FunctionType
from weakref import WeakKeyDictionary

from polyproc._base.modules import load
from polyproc._base.process_state import process_state
from polyproc._base.typing import Any, Callable
from polyproc._pickling.main_definitions import Definition, Empty, is_definition, main_definitions, state_of

Origin = tuple[int, int]
Version = tuple[Origin, int]
Update = tuple[str, Version, bytes, tuple[str, ...], tuple[str, ...]]  # the last as in Definition: before, later


class _Strangers:
    """The namespaces of processes that we do not descend from. One instance, `_strangers`."""

    def __init__(self) -> None:
        self.scopes: dict[Origin, tuple[dict[str, Any], dict[str, Definition]]] = {}

    def scope_of(self, origin: Origin) -> tuple[dict[str, Any], dict[str, Definition]]:
        if origin not in self.scopes:
            if len(self.scopes) == 100:
                del self.scopes[next(iter(self.scopes))]
            self.scopes[origin] = {}, {}
        scope, have = self.scopes[origin]
        scope.update(item for item in list(vars(sys.modules["__main__"]).items()) if item[0] not in have)
        return scope, have


_strangers = _Strangers()
classes_from: WeakKeyDictionary[type, Origin] = WeakKeyDictionary()
"""The processes that classes by value have come from."""


def namespace(origin: Origin | None, updates: list[Update]) -> dict[str, Any]:
    """Return the namespace of main for what comes from a process, with what it has defined or defined anew."""
    if origin is None or origin == main_definitions.me():
        return vars(sys.modules["__main__"])
    if process_state.receiving or origin[0] in process_state.ancestors:  # a new child hears its parent only
        scope, have = vars(sys.modules["__main__"]), main_definitions.changed
        take_over: Callable[[str, Definition], None] = main_definitions.take_over
    else:
        scope, have = _strangers.scope_of(origin)
        take_over = have.__setitem__
    for name, version, packed, before, later in updates:
        found = have.get(name)
        if version[0] == main_definitions.me() or (
            found is not None and found.version[0] == version[0] and found.version[1] >= version[1]
        ):
            continue
        value = pickle.loads(packed)
        scope[name] = value
        made = Definition(version, value, state_of(value) if is_definition(name, value) else hash(packed))
        made.packed, made.before, made.later = packed, before, later
        take_over(name, made)
    return scope


def named(origin: Origin | None, updates: list[Update], name: str) -> Any:
    """Return what a name of main stands for, for what comes from a process."""
    first, _, rest = name.partition(".")
    scope = namespace(origin, updates)
    try:
        found = scope[first]
    except KeyError:
        if origin != main_definitions.me():
            raise AttributeError(f"Can't get attribute {name!r} on {sys.modules['__main__']!r}") from None
        found = next((pickle.loads(packed) for known, _, packed, *_ in reversed(updates) if known == first), None)
    for part in rest.split(".") if rest else ():
        found = getattr(found, part)
    return found


def patched(origin: Origin, name: str, parts: dict[str, Any], removed: list[str]) -> Any:
    """Give a class of main, which is here already, the methods that it has got there since; return it."""
    scope = namespace(origin, [])
    cls = scope[name]
    if scope is not vars(sys.modules["__main__"]):
        return cls  # no child changes a class of ours
    for attribute, part in parts.items():
        setattr(cls, attribute, part)
    for attribute in removed:
        if attribute in vars(cls):
            delattr(cls, attribute)
    return cls


def make_function(code: bytes, scope: dict[str, Any], name: str, cells: int) -> FunctionType:
    """Make a function, whose state will follow: it may refer to the function."""
    closure = tuple(CellType() for _ in range(cells))
    return FunctionType(marshal.loads(code), scope, name, None, closure or None)


def set_function_state(function: FunctionType, state: tuple[dict[str, Any], dict[str, Any], list[Any], object]) -> None:
    """Give a function its attributes and what is in its cells. What it imports is in the state for its own sake."""
    slots, attributes, contents, _ = state
    for name, value in slots.items():
        setattr(function, name, value)
    function.__dict__.update(attributes)
    for cell, value in zip(function.__closure__ or (), contents, strict=True):
        if value is not Empty:
            cell.cell_contents = value


def set_class_state(cls: type, told: tuple[Origin, Any]) -> None:
    """Give a class its attributes, unless it was ours from the beginning."""
    origin, state = told
    if origin == main_definitions.me():
        return
    classes_from[cls] = origin
    load("cloudpickle.cloudpickle", "_class_setstate")(cls, state)  # type: ignore[operator]


def imported(value: object) -> object:
    """Return what a lazy import of the sender stands for, which was sent."""
    return value


def cached(wrapped: Any, parameters: dict[str, Any]) -> Any:
    """Make what lru_cache makes of a function."""
    return functools.lru_cache(**parameters)(wrapped)
