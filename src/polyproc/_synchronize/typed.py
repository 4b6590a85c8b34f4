"""RawValue and RawArray: ctypes objects in shared memory, and `copy` of one; Value and Array: the same with a lock."""

from __future__ import annotations

import ctypes
import weakref

from polyproc._base.modules import kind_of, of_kind, public, said
from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING, Any, Callable
from polyproc._memory.block import allocate
from polyproc._pickling.pickler import ForkingPickler

if TYPE_CHECKING:
    from polyproc._memory.block import Block

typecode_to_type: dict[str, type[Any]] = {
    "c": ctypes.c_char,
    "u": ctypes.c_wchar,
    "b": ctypes.c_byte,
    "B": ctypes.c_ubyte,
    "h": ctypes.c_short,
    "H": ctypes.c_ushort,
    "i": ctypes.c_int,
    "I": ctypes.c_uint,
    "l": ctypes.c_long,
    "L": ctypes.c_ulong,
    "q": ctypes.c_longlong,
    "Q": ctypes.c_ulonglong,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}


def type_of(typecode_or_type: Any) -> type[Any]:
    """Return the ctypes type of a type code; a type is its own."""
    kind: type[Any] = typecode_to_type.get(typecode_or_type, typecode_or_type)
    return kind


def in_block(kind: type[Any], block: Block, length: int | None) -> Any:
    """Return a ctypes object in a block: of a type, or an array of it."""
    made_of: Any = kind if length is None else kind * length
    ForkingPickler.register(made_of, _reduce)
    made = made_of.from_buffer(block.buffer)
    made._block = block
    return made


def _reduce(obj: Any) -> tuple[Any, ...]:
    if not hasattr(obj, "_block"):
        raise TypeError(f"{type(obj).__name__} objects can only be pickled if they are in shared memory")
    array = isinstance(obj, ctypes.Array)
    return in_block, (obj._type_ if array else type(obj), obj._block, obj._length_ if array else None)


def new(kind: type[Any], length: int | None = None) -> Any:
    """Return a ctypes object of zero bytes in shared memory."""
    try:
        size = ctypes.sizeof(kind)
    except TypeError as error:
        raise said("wrong_type_code", kind, error) from None
    return in_block(kind, allocate(size * (1 if length is None else length)), length)


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """Return a ctypes object in shared memory, made of `args` as the type does."""
    kind = type_of(typecode_or_type)
    made = new(kind)
    _fill(made, args, "a value")
    return made


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:
    """Return a ctypes array in shared memory: of a size, zeroed, or of a sequence's items."""
    kind = type_of(typecode_or_type)
    if isinstance(size_or_initializer, int):
        if size_or_initializer < 0:
            raise ValueError(f"Array length must be >= 0, not {size_or_initializer}")
        return new(kind, size_or_initializer)
    made = new(kind, length_of(size_or_initializer))
    _fill(made, size_or_initializer, "an array")
    return made


def length_of(items: Any) -> int:
    """Return how many items an array is made of. Raises TypeError for what is neither a size nor a sequence."""
    try:
        return len(items)
    except TypeError as error:
        text = "an array is made of a whole number, its size, or of a sequence with its items"
        raise TypeError(f"{error}: {text}, and not of {items!r}") from None


def _fill(made: Any, items: Any, what: str) -> None:
    try:
        made.__init__(*items)
    except TypeError as error:
        raise TypeError(f"{error}: {what} of {made._type_!r} cannot be made of {items!r:.60}") from None


def copy(obj: Any) -> Any:
    """Return a copy of a ctypes object, in shared memory."""
    made = new(obj._type_, obj._length_) if isinstance(obj, ctypes.Array) else new(type(obj))
    ctypes.memmove(ctypes.addressof(made), ctypes.addressof(obj), ctypes.sizeof(obj))
    return made


# Value and Array with their lock: numbers and characters are typed by the C core, everything else is a ctypes object.
#
# Value("i"), Array("d", 10)       FastValue, FastArray: reading and writing take the lock in C
# Value(Structure), any of the     Synchronized, SynchronizedArray over a ctypes object
# portable backend


if TYPE_CHECKING or native:
    import polyproc._core as core
    from polyproc._pickling.chunk import Chunk, where


@public("sharedctypes")
class SynchronizedBase:
    """A ctypes object with a lock. `get_obj()` is the object, `get_lock()` the lock; `with` holds it."""

    def __init__(self, obj: Any, lock: Any = None, ctx: Any = None) -> None:
        self._obj = obj
        self._lock = lock if lock is not None else new_lock()
        self.acquire: Callable[..., bool] = self._lock.acquire
        self.release: Callable[[], None] = self._lock.release

    def __enter__(self) -> Any:
        return self._lock.__enter__()

    def __exit__(self, *args: Any) -> Any:
        return self._lock.__exit__(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return synchronized, (self._obj, self._lock)

    def get_obj(self) -> Any:
        """Return the ctypes object."""
        return self._obj

    def get_lock(self) -> Any:
        """Return the lock."""
        return self._lock

    def __repr__(self) -> str:
        name = type(self).__name__
        shown = {"FastValue": "Synchronized", "FastArray": "SynchronizedArray", "FastString": "SynchronizedString"}
        return f"<{shown.get(name, name)} wrapper for {self.get_obj()}>"


@public("sharedctypes")
class Synchronized(SynchronizedBase):
    """A value with a lock."""

    @property
    def value(self) -> Any:
        """The value; read and written under the lock."""
        with self._lock:
            return self._obj.value

    @value.setter
    def value(self, value: Any) -> None:
        with self._lock:
            self._obj.value = value

    def add(self, amount: Any) -> Any:
        """Add to the value, in one step for all users of the lock; return the sum."""
        with self._lock:
            self._obj.value += amount
            return self._obj.value


@public("sharedctypes")
class SynchronizedArray(SynchronizedBase):
    """An array with a lock; items and slices are read and written under it."""

    def __len__(self) -> int:
        return len(self._obj)

    def __getitem__(self, key: Any) -> Any:
        with self._lock:
            return self._obj[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        with self._lock:
            self._obj[key] = value

    def __getslice__(self, start: int, stop: int) -> Any:
        return self[start:stop]

    def __setslice__(self, start: int, stop: int, values: Any) -> None:
        self[start:stop] = values


@public("sharedctypes")
class SynchronizedString(SynchronizedArray):
    """An array of characters with a lock."""

    @property
    def value(self) -> bytes:
        """The bytes up to the first zero byte."""
        with self.get_lock():
            return self.get_obj().value  # type: ignore[no-any-return]

    @value.setter
    def value(self, value: bytes) -> None:
        with self.get_lock():
            self.get_obj().value = value

    @property
    def raw(self) -> bytes:
        """All bytes."""
        with self.get_lock():
            return self.get_obj().raw  # type: ignore[no-any-return]

    @raw.setter
    def raw(self, value: bytes) -> None:
        with self.get_lock():
            self.get_obj().raw = value


if TYPE_CHECKING or native:

    class _Fast:
        """What FastValue and FastArray add to the core's types: the surface of SynchronizedBase."""

        def _complete(self) -> None:
            lock = self.get_lock()
            self.acquire = lock.acquire
            self.release = lock.release

        if TYPE_CHECKING:
            get_lock: Callable[[], Any]
            _code: str

        def get_obj(self) -> Any:
            """Return the same memory as a ctypes object."""
            kind = typecode_to_type[self._code] if self._code != "?" else ctypes.c_bool
            made_of: Any = kind if not isinstance(self, core.Array) else kind * len(self)
            return made_of.from_buffer(self)

        def __reduce__(self) -> tuple[Any, ...]:
            return _adopt_fast, (kind_of(self), *where(self), self._code, self.get_lock())

    @public("sharedctypes")
    @core.direct
    class FastValue(core.Scalar, _Fast, Synchronized):
        """A number or character with a lock."""

        def __init__(self, *args: Any) -> None:
            self._complete()

        __reduce__ = _Fast.__reduce__

    @public("sharedctypes")
    @core.direct
    class FastArray(core.Array, _Fast, SynchronizedArray):
        """An array of numbers or characters with a lock."""

        def __init__(self, *args: Any) -> None:
            self._complete()

        __reduce__ = _Fast.__reduce__

    @public("sharedctypes")
    @core.direct
    class FastString(core.Array, _Fast, SynchronizedString):
        """An array of bytes with a lock."""

        def __init__(self, *args: Any) -> None:
            self._complete()

        __reduce__ = _Fast.__reduce__

    def _adopt_fast(kind: Any, chunk: Chunk, offset: int, code: str, lock: Any) -> Any:
        made = of_kind(kind)._adopt(chunk.id, offset, code, lock)
        made._complete()
        return made


_CODES = {kind: code for code, kind in typecode_to_type.items()} | {ctypes.c_bool: "?"}


def new_lock() -> Any:
    """Return the lock of a value that was given none."""
    from polyproc._synchronize.primitives import RLock

    return RLock()


def _lock_for(lock: Any) -> Any:
    if lock is True or lock is None:
        return new_lock()
    if not hasattr(lock, "acquire"):
        text = "lock is True, for a new RLock, False, for none, or a Lock or RLock"
        raise AttributeError(f"{lock!r} has no method 'acquire': {text}")
    return lock


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:
    """Return a value in shared memory, made of `args` as its type does, with a lock.

    Args:
        typecode_or_type: a code as of the array module, or a ctypes type.
        args: what its value is made of; zero without.
        lock: True for a new RLock; a Lock or RLock; False for a ctypes object without one.
        ctx: taken for the standard library's sake.
    """
    if lock is False:
        return RawValue(typecode_or_type, *args)
    lock = _lock_for(lock)
    code = _CODES.get(type_of(typecode_or_type))
    if not native or code is None or len(args) > 1:
        return synchronized(RawValue(typecode_or_type, *args), lock)
    made = FastValue(code, 1, lock)
    if args:
        made.value = args[0]
    return made


def Array(typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any = None) -> Any:
    """Return an array in shared memory with a lock: of a size, zeroed, or of a sequence's items. See Value."""
    if lock is False:
        return RawArray(typecode_or_type, size_or_initializer)
    lock = _lock_for(lock)
    code = _CODES.get(type_of(typecode_or_type))
    if not native or code is None:
        return synchronized(RawArray(typecode_or_type, size_or_initializer), lock)
    cls: Any = FastString if code == "c" else FastArray
    if isinstance(size_or_initializer, int):
        return cls(code, size_or_initializer, lock)
    made = cls(code, length_of(size_or_initializer), lock)
    made[:] = size_or_initializer
    return made


_wrappers: weakref.WeakKeyDictionary[type[Any], type[SynchronizedBase]] = weakref.WeakKeyDictionary()


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """Return a wrapper of a ctypes object with a lock; attributes of a structure are read and written under it."""
    assert not isinstance(obj, SynchronizedBase), "object already synchronized"
    if isinstance(obj, ctypes._SimpleCData):
        return Synchronized(obj, lock)
    if isinstance(obj, ctypes.Array):
        cls: Any = SynchronizedString if obj._type_ is ctypes.c_char else SynchronizedArray
        return cls(obj, lock)
    kind = type(obj)
    if kind not in _wrappers:
        names = [field[0] for field in kind._fields_]
        members = {name: _field(name) for name in names}
        _wrappers[kind] = type(f"Synchronized{kind.__name__}", (SynchronizedBase,), members)
    return _wrappers[kind](obj, lock)


def _field(name: str) -> property:
    def get(self: SynchronizedBase) -> Any:
        with self._lock:
            return getattr(self._obj, name)

    def set(self: SynchronizedBase, value: Any) -> None:
        with self._lock:
            setattr(self._obj, name, value)

    return property(get, set)
