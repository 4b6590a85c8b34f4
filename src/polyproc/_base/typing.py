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
    # No text is compiled: the first that is takes the interpreter a millisecond.
    code = _CONSTRUCTORS[len(fields)].__code__.replace(
        co_varnames=("_kind", *fields), co_name="__new__", co_filename=f"<namedtuple {kind.__name__}>"
    )
    names = {"_make": tuple.__new__, "__builtins__": {}, "__name__": f"namedtuple_{kind.__name__}"}
    function = type(_write_constructor)(code, names, "__new__", tuple(kind._field_defaults.values()))
    function.__qualname__ = f"{kind.__name__}.__new__"
    kind.__new__ = function


_make: Any = tuple.__new__
# By the number of fields, as many as any of ours has; in the one that is taken they get their names.
_CONSTRUCTORS: Any = (
    lambda k: _make(k, ()),
    lambda k, a: _make(k, (a,)),
    lambda k, a, b: _make(k, (a, b)),
    lambda k, a, b, c: _make(k, (a, b, c)),
    lambda k, a, b, c, d: _make(k, (a, b, c, d)),
    lambda k, a, b, c, d, e: _make(k, (a, b, c, d, e)),
    lambda k, a, b, c, d, e, f: _make(k, (a, b, c, d, e, f)),
    lambda k, a, b, c, d, e, f, g: _make(k, (a, b, c, d, e, f, g)),
    lambda k, a, b, c, d, e, f, g, h: _make(k, (a, b, c, d, e, f, g, h)),
    lambda k, a, b, c, d, e, f, g, h, i: _make(k, (a, b, c, d, e, f, g, h, i)),
    lambda k, a, b, c, d, e, f, g, h, i, j: _make(k, (a, b, c, d, e, f, g, h, i, j)),
    lambda k, a, b, c, d, e, f, g, h, i, j, m: _make(k, (a, b, c, d, e, f, g, h, i, j, m)),
)


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
