"""The global names that a function or class refers to, as its code has them."""

from __future__ import annotations

import functools
import opcode
from types import CodeType, FunctionType, MethodType

from polyproc._base.typing import Any, Iterable, Iterator
from polyproc._pickling.main_definitions import MAIN, is_wrapper

_GLOBAL_OPS = {opcode.opmap[name] for name in ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME")}
_LOAD_GLOBAL = opcode.opmap["LOAD_GLOBAL"]
_EXTENDED_ARG = opcode.opmap["EXTENDED_ARG"]
_LIMIT = 1000


class Empty:
    """Stands for what an empty cell has."""


def contents(cell: Any) -> Any:
    """Return what a cell has."""
    try:
        return cell.cell_contents
    except ValueError:
        return Empty


def names_in(value: object, scope: dict[str, Any]) -> Iterator[str]:
    """Yield the names of main that a function or class refers to, itself or by what is in it."""
    todo: list[Any] = [value]
    seen = {id(value)}
    while todo:
        found = todo.pop()
        if type(found) is FunctionType and found.__globals__ is scope:
            yield from globals_of(found.__code__)
        elif issubclass(type(found), type) and found.__module__ in MAIN:
            yield from (base.__qualname__ for base in found.__bases__ if base.__module__ in MAIN)
        for part in _parts(found):
            if id(part) not in seen:
                seen.add(id(part))
                todo.append(part)


def _parts(found: Any) -> Iterable[Any]:
    """Return what may be functions in a function, a class or the like."""
    kind = type(found)  # and no isinstance: it may be a proxy
    if kind is FunctionType:
        return [getattr(found, "__wrapped__", None), *(contents(cell) for cell in found.__closure__ or ())]
    if issubclass(kind, type):
        return list(vars(found).values()) if found.__module__ in MAIN else ()
    if issubclass(kind, (classmethod, staticmethod, MethodType)):
        return (found.__func__,)
    if issubclass(kind, property):
        return found.fget, found.fset, found.fdel
    if kind is functools.partial:
        return [found.func, *found.args, *found.keywords.values()]
    if kind is functools.cached_property:
        return (found.func,)
    return (getattr(found, "__wrapped__", None),) if is_wrapper(found) else ()


class _GlobalNames:
    """The names that code refers to, kept by its identity."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[CodeType, tuple[str, ...]]] = {}

    def of(self, code: CodeType) -> tuple[str, ...]:
        found = self._known.get(id(code))
        if found is None:
            if len(self._known) >= _LIMIT:
                self._known.clear()
            found = self._known[id(code)] = code, tuple(dict.fromkeys(_walk(code)))
        return found[1]


globals_of = _GlobalNames().of


def _walk(code: CodeType) -> Iterator[str]:
    argument = 0
    instructions = code.co_code
    for op, low in zip(instructions[::2], instructions[1::2], strict=True):
        argument |= low
        if op in _GLOBAL_OPS:
            yield code.co_names[argument >> 1 if op == _LOAD_GLOBAL else argument]
        argument = argument << 8 if op == _EXTENDED_ARG else 0
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _walk(const)
