"""What other processes have of our main module's definitions: one that is sent a name gets what it lacks.

A function or class of an imported module is found by its name. Those of main are defined while the program runs: after
a child was made (a notebook, a prompt, a `def` below a pool), or anew. So it is noted at the first start of a child
what main has by then. What is the same still goes by name; what is new, or other than it was, has a version, and goes
with whatever refers to it (by_value_pickler.py), to be defined in the receiver's main module (by_value_parts.py).

    known       what every child has as we do; only ever gets less
    changed     a version for each name that some child lacks or has otherwise; the newest that we know of

A forked child goes on with both, since its main is as ours. Another has all that its import of main has given, and what
arrives.
"""

from __future__ import annotations

import os
import sys
from _weakref import ref
from itertools import count, islice
from operator import is_
from types import CodeType, FunctionType, GetSetDescriptorType, MethodType, ModuleType

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Iterator
    from typing import Any

    Version = tuple[tuple[int, int], int]  # the process that has defined it, and a number there


# How to know a value again that is neither function nor class, and whether it was changed in place meanwhile.
#
# No large value is kept alive for it, and no code of its class is run: it may be a proxy, which would look for its
# own.

_SAMPLE = 20
_LONG = 1000
_EXACT = {bool, int, float, complex, str, bytes, type(None)}
_NUMBERS = {bool, int, float, type(None)}
_NAMED = {ModuleType, FunctionType}
_CONTAINERS = {list, tuple, dict, set, frozenset}


def mark(value: object) -> Any:
    """Return how to know a value again, without keeping alive what is large: see `is_marked`."""
    kind = type(value)
    if kind in _EXACT:
        if isinstance(value, (str, bytes)) and len(value) > _LONG:
            return id(value), kind, len(value), None
        return value
    try:
        alive = ref(value)
    except TypeError:  # a list, a dictionary, ...
        alive = None
    return id(value), kind, _sample(value), alive


def _sample(value: object) -> list[Any]:
    """Return as much of what is in a value as shows, most often, that it was changed; runs no code of its class."""
    inside: Any = value if type(value) in _CONTAINERS else _attributes(value)
    if inside is None:
        return []
    sample: list[Any] = [len(inside)]
    try:
        for part in islice(inside, _SAMPLE):
            parts = (part, inside[part]) if type(inside) is dict else (part,)
            sample += [one if type(one) in _NUMBERS else id(one) for one in parts]
    except RuntimeError:  # it changes meanwhile
        pass
    return sample


def _attributes(value: object) -> dict[str, Any] | None:
    kind = type(value)
    if kind in _NAMED or issubclass(kind, type):
        return None
    for cls in kind.__mro__:
        found = vars(cls).get("__dict__")
        if found is not None:
            return found.__get__(value) if type(found) is GetSetDescriptorType else None  # else it may be a proxy's
    return None


def is_marked(before: Any, value: object) -> bool:
    """Return whether a value is the one that was marked, and has the same inside, as far as a look shows."""
    now = mark(value)
    if type(before) is not tuple or type(now) is not tuple:
        return type(before) is type(now) and (before is now or bool(before == now))
    return bool(before[:3] == now[:3]) and (before[3] is None or before[3]() is value)


MAIN = ("__main__", "__mp_main__")
_TEXT = b"\x8c"  # SHORT_BINUNICODE
_MAX_TEXTS = 30
_MAIN_TEXTS = (b"__main__", b"__mp_main__")
_unmarked = object()
_CODE = (FunctionType, property, classmethod, staticmethod, type)


class Definition:
    """The object that a name of main stands for, in a version.

    Attributes:
        version: of it.
        value: the object.
        state: what it is made of, where that can be replaced: see `state_of`.
        base: of a class that all children have, but with other methods: its state as they have it.
        packed: its pickle, where it may be sent any number of times.
        before: the names of main that have to be there before it is opened.
        later: those that are in it, and have to be there as well.
    """

    __slots__ = ("base", "before", "later", "packed", "state", "value", "version")

    def __init__(self, version: Version, value: object, state: Any, base: Any = None) -> None:
        self.version = version
        self.value = value
        self.state = state
        self.base = base
        self.packed: bytes | None = None
        self.before: tuple[str, ...] = ()
        self.later: tuple[str, ...] = ()


class MainDefinitions:
    """The definitions of our main module. One instance, `main_definitions`.

    It has no lock, which a fork could find held: what two threads find out at once is the same, and a version that both
    give is one that a receiver takes twice.

    Attributes:
        is_exact: whether each reference to main has to be looked at, since something may be missing or other elsewhere.
        kinds: types whose objects go by the name of the function that they wrap, and how to reduce one by value.
    """

    def __init__(self) -> None:
        self.is_exact = False
        self.known: dict[str, tuple[object, Any]] | None = None  # None: no child was started, all is known
        self.changed: dict[str, Definition] = {}
        self.kinds: dict[type, Callable[[Any], Any]] = {}
        self._data: dict[str, Any] = {}  # how to know again what is no definition
        self._numbers = count(1)
        self._me = (0, 0)
        self._all: _Watch | None = None
        self._size: tuple[int, str] | None = None  # how many names main had, and the last, when there was nothing new
        self._at_first_start: list[tuple[str, object]] = []
        self._watches: dict[bytes, _Watch] = {}

    # -- what launchers tell -----------------------------------------------------------------------------------------

    def note_start(self, missing: Container[str] | None = None) -> None:
        """At a start, before the child is made: note what it has of main.

        Args:
            missing: names that it lacks because it imports main or does not; None for a copy of this process.
        """
        scope = vars(sys.modules["__main__"])
        if self.known is None:
            known: dict[str, tuple[object, Any]] = {}
            for name, value in list(scope.items()):
                if name in self.changed:  # it came to us as it will to our children
                    continue
                if is_definition(name, value):
                    known[name] = value, state_of(value)
                else:
                    self._data[name] = mark(value)
            self.known = known
            self._at_first_start = [(name, value) for name, (value, _) in known.items()]
            self._size = len(scope), next(reversed(scope), "")
        elif not self.is_exact and not self._has_same_names(scope):
            self.has_changed()
        if missing is not None:
            self._leave_out(missing)
        if self.is_exact:  # a copy of us is to know that it has what is new by now
            for name, value in list(scope.items()):
                if is_definition(name, value):
                    self.current(name, value)

    def _has_same_names(self, scope: dict[str, Any]) -> bool:
        """Return whether main has the same functions and classes as at the first start. Each start asks: quick."""
        for name, value in self._at_first_start:
            if scope.get(name) is not value:
                return False
        return (len(scope), next(reversed(scope), "")) == self._size

    def _leave_out(self, missing: Container[str]) -> None:
        assert self.known is not None
        lacking = [name for name in list(self.known) if name in missing]
        for name in lacking:
            self._forget(name)
        for name, changed in list(self.changed.items()):
            if changed.base and name in missing:  # of which only the difference was sent
                self.changed.pop(name, None)
        self._data = {name: before for name, before in list(self._data.items()) if name not in missing}
        self.is_exact = self.is_exact or bool(lacking) or "" in missing  # "": there is nothing that a child imports

    # -- what picklers ask -------------------------------------------------------------------------------------------

    def has_changed(self) -> bool:
        """Return whether main has definitions that some child lacks, or has otherwise."""
        if self.is_exact or self.known is None:
            return self.is_exact
        scope = vars(sys.modules["__main__"])
        if self._all is None:
            self._all = _Watch(scope, self.known, (), is_over=False)
        if self._all.holds():
            size = len(scope), next(reversed(scope), "")  # what is new is the last
            if size == self._size:
                return False
            if not any(is_definition(name, scope.get(name)) for name in scope.keys() - self.known.keys()):
                self._size = size
                return False
        self.is_exact = True
        return True

    def is_changed_in(self, data: bytes) -> bool:
        """Return whether a pickle that contains main's name refers by name to what some child has otherwise."""
        if self.is_exact or self.known is None:
            return self.is_exact
        # A name that is referred to stands in the pickle as a short text, wherever. What else is one does no harm.
        texts = data.split(_TEXT, _MAX_TEXTS)
        if len(texts) == 1 or len(texts) > _MAX_TEXTS:  # an older protocol; or so many that all is looked at sooner
            return self.has_changed()
        watches = self._watches
        for index in range(1, len(texts)):
            text = texts[index]
            if not text or len(text) <= text[0]:  # split within a text
                return self.has_changed()
            text = text[1 : text[0] + 1]
            watch = watches.get(text)
            if watch is None:
                if text not in _MAIN_TEXTS and self._is_changed(text):
                    return True
            elif not watch.holds():
                self.is_exact = True
                return True
        return False

    def goes_by_name(self, function: FunctionType) -> bool:
        """Return whether a function that is found by its name needs nothing beside it."""
        if function.__module__ not in MAIN:
            return True
        if self.known is None:
            return not self.is_exact
        text = function.__qualname__.encode(errors="replace")
        watch = self._watches.get(text)
        return (watch is not None and watch.holds()) or not self._is_changed(text)

    def watch_of(self, function: FunctionType) -> _Watch | None:
        """Return what holds as long as a function of main goes by name, if that is known."""
        is_mains = self.known is not None and function.__module__ in MAIN
        return self._watches.get(function.__qualname__.encode(errors="replace")) if is_mains else None

    def _is_changed(self, text: bytes) -> bool:
        """Return whether a text is the name of what some child has otherwise."""
        assert self.known is not None
        watch = self._watches.get(text)
        if watch is None:
            scope = vars(sys.modules["__main__"])
            name = text.partition(b".")[0].decode(errors="replace")
            if name not in self.known:
                if name not in self.changed and (name not in scope or not is_definition(name, scope[name])):
                    return False
                self.is_exact = True
                return True
            watch = self._watches[text] = self._make_watch(name, scope)
        if watch.holds():
            return False
        self.is_exact = True
        return True

    def _make_watch(self, name: str, scope: dict[str, Any]) -> _Watch:
        """Make one for a name and all that it refers to."""
        assert self.known is not None
        todo = [name]
        reached: dict[str, tuple[object, Any]] = {}
        others: set[str] = set()
        while todo:
            name = todo.pop()
            known = self.known.get(name)
            if known is None:
                others.add(name)
            elif name not in reached:
                reached[name] = known
                todo += names_in(known[0], scope)
        return _Watch(scope, reached, others, is_over=not others.isdisjoint(self.changed))

    def current(self, name: str, value: object) -> Definition | None:
        """Return the definition of a name of main, which has this value now; None if every child has it like that."""
        state = state_of(value)
        found = self.changed.get(name)
        if found is not None:
            if found.value is value and _is_state(value, found.state):
                return found
            base = found.base if found.value is value else None
        elif self.known is None:
            return None
        elif (known := self.known.get(name)) is not None:
            before, base = known
            if before is value and _is_state(value, base):
                return None
            if before is not value or not isinstance(value, type):
                base = None
            self._forget(name)
        else:
            base = None
        self.is_exact = True
        made = self.changed[name] = Definition(self.new_version(), value, state, base)
        return made

    def take_over(self, name: str, definition: Definition) -> None:
        """Note what has come from a process that we descend from, and stands in our main now."""
        self._forget(name)
        self.changed[name] = definition
        self.is_exact = True

    def _forget(self, name: str) -> None:
        """Forget what children have for a name: its next value is sent, also if it is the same."""
        if self.known is not None:
            self.known.pop(name, None)
        while self._watches:
            self._watches.popitem()[1].is_over = True

    def has_data(self, name: str, value: object) -> bool:
        """Return whether children have what a name of main stands for that is neither function nor class."""
        before = self._data.get(name, _unmarked)
        if before is _unmarked or name in self.changed:
            return False
        if is_marked(before, value):
            return True
        self._data.pop(name, None)
        return False

    def version_of_data(self, name: str, packed: bytes) -> Version:
        """Return the version of what a name of main stands for now: another one if its pickle is another."""
        found = self.changed.get(name)
        if found is None or found.state != hash(packed):
            self._forget(name)
            found = self.changed[name] = Definition(self.new_version(), None, hash(packed))
        return found.version

    def me(self) -> tuple[int, int]:
        """Return what this process is called in versions."""
        if self._me[0] != os.getpid():
            self._me = os.getpid(), int.from_bytes(os.urandom(4), "little")
        return self._me

    def new_version(self) -> Version:
        """Return a version that is newer than all that this process has given."""
        return self.me(), next(self._numbers)


class _Watch:
    """Looks whether definitions of main are as they were, and others no definitions."""

    def __init__(
        self, scope: dict[str, Any], definitions: dict[str, tuple[object, Any]], others: Collection[str], is_over: bool
    ) -> None:
        self.scope = scope
        self._functions: list[tuple[str, Any, Any]] = []
        self._classes: list[list[Any]] = []
        self._others = tuple(others)
        self.is_over = is_over
        for name, (value, state) in list(definitions.items()):
            if isinstance(value, type):
                size, names, parts = state
                self._classes.append([name, value, vars(value), size, list(zip(names, parts, strict=True))])
            else:
                self._functions.append((name, value, state))

    def holds(self) -> bool:
        """Return whether main is as it was."""
        scope = self.scope
        if self.is_over or sys.modules["__main__"].__dict__ is not scope:
            return False
        for name, function, code in self._functions:
            if (code is not None and function.__code__ is not code) or scope.get(name) is not function:
                return False
        for name in self._others:
            if name in scope and is_definition(name, scope.get(name)):
                return False
        for entry in self._classes:
            name, value, parts, size, before = entry
            if scope.get(name) is not value:
                return False
            for part_name, part in before:
                if parts.get(part_name) is not part:
                    return False
            if len(parts) != size:
                if len(state_of(value)[1]) != len(before):
                    return False
                entry[3] = len(parts)  # it has got data
        return True


main_definitions = MainDefinitions()


def is_definition(name: str, value: object) -> bool:
    """Return whether a value of main is a function or class that has been defined there under that name."""
    kind = type(value)
    if (
        kind is not FunctionType and not issubclass(kind, type) and not is_wrapper(value)
    ):  # no isinstance: it may be a proxy
        return False
    return getattr(value, "__module__", None) in MAIN and getattr(value, "__qualname__", None) == name


def is_wrapper(value: object) -> bool:
    """Return whether it stands for a function, and bears its name: a task, what lru_cache makes."""
    return type(value) in main_definitions.kinds or type(value).__name__ == "_lru_cache_wrapper"


def state_of(value: object) -> Any:
    """Return what of a function or class can be replaced: its code, its methods."""
    if type(value) is FunctionType:
        return value.__code__
    if issubclass(type(value), type):
        scope = vars(value)
        names = tuple(name for name, part in scope.items() if is_code(part))
        return len(scope), names, tuple(map(scope.get, names))
    return None


def is_code(part: object) -> bool:
    """Return whether a part of a class is a method or the like, and no data."""
    return issubclass(type(part), _CODE) or is_wrapper(part)


def _is_state(value: object, state: Any) -> bool:
    if type(value) is FunctionType:
        return value.__code__ is state
    if isinstance(value, type):
        size, names, parts = state
        scope = vars(value)
        if not all(map(is_, map(scope.get, names), parts)):
            return False
        return len(scope) == size or bool(state_of(value)[1] == names)
    return True


# The global names that a function or class refers to, as its code has them. Many programs never ask for them.

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
    from functools import cached_property, partial

    kind = type(found)  # and no isinstance: it may be a proxy
    if kind is FunctionType:
        return [getattr(found, "__wrapped__", None), *(contents(cell) for cell in found.__closure__ or ())]
    if issubclass(kind, type):
        return list(vars(found).values()) if found.__module__ in MAIN else ()
    if issubclass(kind, (classmethod, staticmethod, MethodType)):
        return (found.__func__,)
    if issubclass(kind, property):
        return found.fget, found.fset, found.fdel
    if kind is partial:
        return [found.func, *found.args, *found.keywords.values()]
    if kind is cached_property:
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
    from opcode import opmap

    of_globals = {opmap[name] for name in ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME")}
    load_global, extended = opmap["LOAD_GLOBAL"], opmap["EXTENDED_ARG"]
    argument = 0
    instructions = code.co_code
    for op, low in zip(instructions[::2], instructions[1::2], strict=True):
        argument |= low
        if op in of_globals:
            yield code.co_names[argument >> 1 if op == load_global else argument]
        argument = argument << 8 if op == extended else 0
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _walk(const)
