"""The names of `typing` and `collections.abc`, without loading them: most of what a small program would wait for.

For type checkers `typing.pyi` says what they are. At run time nearly all stand in annotations alone, which nobody
evaluates; here are those that are called or inherited from, and no more of them than we use.
"""

from __future__ import annotations

from _collections import _tuplegetter
from _collections_abc import AsyncIterator as AsyncIterator
from _collections_abc import Awaitable as Awaitable
from _collections_abc import Callable as Callable
from _collections_abc import Collection as Collection
from _collections_abc import Generator as Generator
from _collections_abc import ItemsView as ItemsView
from _collections_abc import Iterable as Iterable
from _collections_abc import Iterator as Iterator
from _collections_abc import KeysView as KeysView
from _collections_abc import Mapping as Mapping
from _collections_abc import MutableMapping as MutableMapping
from _collections_abc import MutableSequence as MutableSequence
from _collections_abc import Sequence as Sequence
from _collections_abc import Sized as Sized
from _collections_abc import ValuesView as ValuesView

TYPE_CHECKING = False

IO = Any = ClassVar = Final = NoReturn = Self = TextIO = object


class TypeVar:
    """A name for a type."""

    def __init__(self, name: str, **bound: Any) -> None:
        self.__name__ = name


class ParamSpec(TypeVar):
    """A name for a function's parameters."""

    args = kwargs = Any


class Generic:
    """The base of classes that may be subscripted."""

    __class_getitem__ = classmethod(type(list[int]))


class Protocol:
    """The base of classes that say what others have."""


class TypedDict(dict):
    """The base of dictionaries with known keys."""

    def __init_subclass__(cls, total: bool = True) -> None:
        pass


def cast(kind: object, value: Any) -> Any:
    """Return the value: type checkers are told of what kind it is."""
    return value


def overload(function: Any) -> Any:
    """Return the function: type checkers are told of another way to call it."""
    return function


class _NamedTupleKind(type):
    def __new__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> Any:
        if not bases:
            return super().__new__(cls, name, bases, members)
        fields = tuple(members.get("__annotations__", ()))  # there are such: our annotations are not evaluated
        defaults = {field: members.pop(field) for field in fields if field in members}
        getters = {field: _tuplegetter(number, None) for number, field in enumerate(fields)}
        common = {key: value for key, value in vars(_TupleMembers).items() if key in _COPIED}
        known = {"__slots__": (), "__match_args__": fields, "_fields": fields, "_field_defaults": defaults}
        known["__signature__"] = _Signature()
        made = type(name, (tuple,), {**known, **getters, **common, **members})
        made.__new__ = _first_constructor  # type: ignore[method-assign,assignment]
        return made


def _first_constructor(kind: Any, *args: Any, **kwds: Any) -> Any:
    """Write the constructor when the first is made: most programs need few of them."""
    _write_constructor(kind)
    return kind.__new__(kind, *args, **kwds)


def _write_constructor(kind: Any) -> None:
    while tuple not in kind.__bases__:
        kind = kind.__base__  # of a class that was derived
    fields = kind._fields
    values = "".join(f"{field}, " for field in fields)
    text = f"lambda _kind{''.join(f', {field}' for field in fields)}: _make(_kind, ({values}))"
    # Of text, eval would have the interpreter forget that it ends by a Ctrl-C, if this is at the exit.
    code = compile(text, f"<namedtuple {kind.__name__}>", "eval")
    function = eval(code, {"_make": tuple.__new__, "__builtins__": {}, "__name__": f"namedtuple_{kind.__name__}"})
    function.__name__, function.__qualname__ = "__new__", f"{kind.__name__}.__new__"
    function.__defaults__ = tuple(kind._field_defaults.values())
    kind.__new__ = function


class _Signature:
    """A trap for `inspect`, which asks for it first: it writes the constructor, whose parameters are then found."""

    def __get__(self, instance: object, kind: Any) -> Any:
        _write_constructor(kind)
        raise AttributeError("__signature__")


class _TupleMembers(tuple):
    """The methods of named tuples, with the names that collections.namedtuple gives them."""

    __slots__ = ()
    _fields: tuple[str, ...]

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Any:
        return tuple.__new__(cls, values)

    def _replace(self, **changed: Any) -> Any:
        made = self._make(map(changed.pop, self._fields, self))
        if changed:
            raise ValueError(f"Got unexpected field names: {list(changed)!r}")
        return made

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        values = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({values})"

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)


_COPIED = ("_make", "_replace", "_asdict", "__repr__", "__getnewargs__")


class NamedTuple(metaclass=_NamedTupleKind):
    """The base of named tuples."""
