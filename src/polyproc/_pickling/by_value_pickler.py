"""Pickle functions and classes by value where they cannot be found by name; the only import of cloudpickle.

cloudpickle takes everything of `__main__` by value, each time, with copies of the globals. Here a function or class
that its receiver can find goes by reference, so that it is the same there; and what is of main is defined there in main
once (by_value_parts.py), with what it refers to, as far as the receiver lacks that or has it otherwise
(main_definitions.py).

    f, unchanged, refers to nothing new     by reference, as pickle has it
    f, otherwise                            named(origin, [updates], "f")         what is new is opened, then main's f
    a lambda, a local function              make_function(code, namespace(origin, [updates]), ...)
    an update                               (name, version, pickle, what that needs)

The updates of a pickle are in the order in which they can be opened: a class after its bases.
"""

from __future__ import annotations

import copyreg
import functools
import io
import marshal
import sys
import types
from types import FunctionType, MethodType, ModuleType

import cloudpickle
from cloudpickle.cloudpickle import _dynamic_class_reduce, _find_imported_submodules

from polyproc._base.modules import shown
from polyproc._base.typing import IO, Any, Callable, Iterable
from polyproc._pickling import by_value_parts as parts
from polyproc._pickling import sending
from polyproc._pickling.main_definitions import (
    MAIN,
    Definition,
    contents,
    globals_of,
    is_code,
    is_definition,
    main_definitions,
    names_in,
)

Reducer = Callable[[Any], Any]
Keeper = Callable[[Any], bool]

_OF_PROCESSES = ("polyproc", "multiprocessing", "concurrent")
_BY_NAME = (FunctionType, type)
_CACHED = type(functools.lru_cache(lambda: None))
_LAZY = getattr(types, "LazyImportType", None)  # of a `lazy import` that was not needed yet (PEP 810, 3.15)


class _Updates:
    """The definitions of main that one pickle brings along, since its receiver lacks them."""

    def __init__(self, reducers: dict[type, Reducer], protocol: int | None) -> None:
        self.scope = vars(sys.modules["__main__"])
        self.origin = main_definitions.me()
        self.opening: list[str] = []  # what is being pickled now, one for the sake of the other
        self._reducers = reducers
        self._protocol = protocol
        self._seen: set[str] = set()
        self._fresh: list[parts.Update] = []
        self._before: list[str] = []  # what was found while something is pickled: see Definition
        self._later: list[str] = []

    def of(self, names: Iterable[str]) -> list[parts.Update]:
        """Return what is to be brought along for the sake of names of main, and was not yet."""
        self._visit(names)
        fresh, self._fresh = self._fresh, []
        return fresh

    def origin_of(self, fresh: list[parts.Update], name: str | None = None) -> parts.Origin | None:
        """Return the process whose main is meant: ours only if there is something in it that we have defined."""
        origins = [version[0] for _, version, *_ in fresh]
        if name in main_definitions.changed:
            origins.append(main_definitions.changed[name].version[0])
        return self.origin if self.origin in origins else origins[-1] if origins else None

    def need(self, name: str) -> None:
        """Add a name that is sent before the object being pickled, which cannot be made without it."""
        self._before.append(name)
        self._visit([name])

    def need_later(self, names: Iterable[str]) -> None:
        """Add names that are sent beside the object being pickled."""
        self._later += names

    def _visit(self, names: Iterable[str]) -> None:
        todo = list(names)
        while todo:
            name = todo.pop()
            if name not in self._seen and name in self.scope:
                self._seen.add(name)
                todo += self._add(name, self.scope[name])

    def _add(self, name: str, value: Any) -> Iterable[str]:
        """Pickle what a name stands for, unless its receiver has it; return the names that it needs later."""
        if is_definition(name, value):
            definition = main_definitions.current(name, value)
            if definition is None:
                return names_in(value, self.scope)
            if definition.packed is not None:
                self._visit(definition.before)
                packed, before, later = definition.packed, definition.before, definition.later
            else:
                packed, before, later, is_pure = self._dumps(name, value, definition)
                if is_pure:
                    definition.packed, definition.before, definition.later = packed, before, later
            self._fresh.append((name, definition.version, packed, before, later))
            return later
        if main_definitions.has_data(name, value):
            return ()
        try:
            packed, before, later, _ = self._dumps(name, value, None)
        except Exception as error:
            if type(value).__module__.partition(".")[0] in _OF_PROCESSES:
                return ()  # a pool, an executor: a worker has no use for it, but a function of main may name it
            error.add_note(f"it is {name!r} of the main module, to which what is sent refers")
            raise
        self._fresh.append((name, main_definitions.version_of_data(name, packed), packed, before, later))
        return later

    def _dumps(
        self, name: str, value: object, definition: Definition | None
    ) -> tuple[bytes, tuple[str, ...], tuple[str, ...], bool]:
        """Pickle a definition or a value; return what it needs, too, and whether it may be sent any number of times."""
        outer, self._before, self._later = (self._before, self._later), [], []
        kept = sending.count_kept()
        buffer = io.BytesIO()
        self.opening.append(name)
        try:
            ByValuePickler(buffer, self._protocol, self._reducers, None, self).dump_part(name, value, definition)
            before, later = tuple(self._before), tuple(self._later)
        finally:
            self.opening.pop()
            self._before, self._later = outer
        return buffer.getvalue(), before, later, sending.current() is None and sending.count_kept() == kept


def _reduce_lazy(lazy: Any) -> tuple[Any, ...]:
    return parts.imported, (lazy.resolve(),)


class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    """cloudpickle's pickler, with our reducers, and by reference first."""

    def __init__(
        self,
        file: IO[bytes],
        protocol: int | None,
        reducers: dict[type, Reducer],
        keep: Keeper | None,
        updates: _Updates | None = None,
    ) -> None:
        # One dictionary, which the pickler looks into without a call: cloudpickle's own table is a chain of several.
        # The pickler reads the attribute once, as it is made.
        self.dispatch_table = {
            **copyreg.dispatch_table,
            **cloudpickle.Pickler._dispatch_table,
            MethodType: _reduce_method,
            _CACHED: self._reduce_named,
            **dict.fromkeys(main_definitions.kinds, self._reduce_named),
            **({} if _LAZY is None else {_LAZY: _reduce_lazy}),
            **reducers,
        }
        if io.TextIOWrapper not in reducers:  # cloudpickle sends what is in it: it goes as a descriptor, or not at all
            self.dispatch_table.pop(io.TextIOWrapper, None)
        self._is_part = updates is not None
        self._updates = _Updates(reducers, protocol) if updates is None else updates
        self._root: Any = None
        super().__init__(file, protocol, keep)

    def dump(self, obj: Any) -> None:
        """Pickle an object. Once: what was pickled is not kept, though the table of reducers refers to this pickler."""
        try:
            super().dump(obj)
        finally:
            self.dispatch_table.clear()

    def dump_part(self, name: str, value: Any, definition: Definition | None) -> None:
        """Pickle what a name of main stands for."""
        if definition is not None:
            self._root = value
            if definition.base is not None:
                self.dump(_Patch(self._updates.origin, name, value, definition.base))
                return
        self.dump(value)

    def reducer_override(self, obj: Any) -> Any:
        """Leave to the ordinary pickler what a child finds by name. Called for each object: it is to be quick."""
        if not isinstance(obj, _BY_NAME):
            return NotImplemented
        reducer = self.dispatch_table.get(type(obj))
        if reducer is not None:
            return reducer(obj)
        return self._reduce_named(obj)

    def _reduce_named(self, obj: Any) -> Any:
        module_name = getattr(obj, "__module__", None)
        module = sys.modules.get(module_name) if isinstance(module_name, str) else None
        if module is None and isinstance(module_name, str) and module_name.startswith(f"{shown.package}."):
            __import__(module_name)  # the module of a public class, which need not have been opened yet
            module = sys.modules[module_name]
        is_main = module is not None and (module_name in MAIN or vars(module) is self._updates.scope)
        if module is not None and obj is not self._root and _lookup(module, obj.__qualname__) is obj:
            if not is_main:
                return NotImplemented if isinstance(obj, _BY_NAME) else obj.__reduce_ex__(4)
            first = obj.__qualname__.partition(".")[0]
            if first not in self._updates.opening:
                return self._reduce_main(obj, first)
        if isinstance(obj, type):
            return self._reduce_class(obj) if is_main else super().reducer_override(obj)
        if isinstance(obj, FunctionType):
            if obj.__globals__ is self._updates.scope:
                return self._reduce_function(obj)
            return super().reducer_override(obj)
        if type(obj) is _CACHED:
            return parts.cached, (obj.__wrapped__, obj.cache_parameters()), vars(obj)
        return main_definitions.kinds[type(obj)](obj)

    def _reduce_main(self, obj: Any, first: str) -> Any:
        """Describe what a name of main leads to."""
        if self._is_part:
            self._updates.need(first)
            return parts.named, (self._updates.origin, [], obj.__qualname__)
        fresh = self._updates.of([first])
        if not fresh and first not in main_definitions.changed:
            return NotImplemented if isinstance(obj, _BY_NAME) else obj.__qualname__
        return parts.named, (self._updates.origin_of(fresh, first), fresh, obj.__qualname__)

    def _reduce_function(self, function: FunctionType) -> tuple[Any, ...]:
        """Describe a function of main: its globals are those of the main that it comes to."""
        updates = self._updates
        names = globals_of(function.__code__)
        fresh: list[parts.Update] = []
        origin: parts.Origin | None = updates.origin
        if self._is_part:
            updates.need_later(names)
        else:
            fresh = updates.of(names)
            origin = updates.origin_of(fresh)
        inside = [contents(cell) for cell in function.__closure__ or ()]
        slots = {
            "__qualname__": function.__qualname__,
            "__module__": function.__module__,
            "__doc__": function.__doc__,
            "__defaults__": function.__defaults__,
            "__kwdefaults__": function.__kwdefaults__,
        }
        annotate = "__annotate__" if hasattr(function, "__annotate__") else "__annotations__"
        slots[annotate] = getattr(function, annotate)
        if parameters := getattr(function, "__type_params__", ()):
            slots["__type_params__"] = parameters
        values = [updates.scope[name] for name in names if name in updates.scope]
        state = slots, function.__dict__, inside, _find_imported_submodules(function.__code__, [*values, *inside])
        made = marshal.dumps(function.__code__), _Namespace(origin, fresh), function.__name__, len(inside)
        return parts.make_function, made, state, None, None, parts.set_function_state

    def _reduce_class(self, cls: type) -> tuple[Any, ...]:
        make, arguments, state, *_ = _dynamic_class_reduce(cls)
        origin = parts.classes_from.get(cls, self._updates.origin)
        return make, arguments, (origin, state), None, None, parts.set_class_state


class _Namespace:
    """Arrives as the namespace of main."""

    def __init__(self, origin: parts.Origin | None, updates: list[parts.Update]) -> None:
        self._args = origin, updates

    def __reduce__(self) -> tuple[Any, ...]:
        return parts.namespace, self._args


class _Patch:
    """Arrives as a class of main that was there, with the methods that it has got since."""

    def __init__(self, origin: parts.Origin, name: str, cls: type, base: tuple[int, tuple[str, ...], Any]) -> None:
        before = dict(zip(base[1], base[2], strict=True))
        now = vars(cls)
        changed = {name: part for name, part in now.items() if is_code(part) and before.get(name) is not part}
        self._args = origin, name, changed, [name for name in before if name not in now]

    def __reduce__(self) -> tuple[Any, ...]:
        return parts.patched, self._args


def _reduce_method(method: Any) -> tuple[Any, ...]:
    """Describe a bound method as pickle does, by its name and what it is bound to; else by its function.

    cloudpickle has the function at once, which for a classmethod is one that no name leads to: it went by value, with
    a copy of its module's globals.
    """
    name = method.__func__.__name__
    if getattr(method.__self__, name, None) == method:
        return getattr, (method.__self__, name)
    return MethodType, (method.__func__, method.__self__)


def _lookup(module: ModuleType, qualname: str) -> Any:
    found: Any = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def dumps(obj: object, protocol: int | None, reducers: dict[type, Reducer], keep: Keeper | None = None) -> bytes:
    """Pickle `obj`; the result opens with the ordinary unpickler, where cloudpickle is installed."""
    buffer = io.BytesIO()
    ByValuePickler(buffer, protocol, reducers, keep).dump(obj)
    return buffer.getvalue()
