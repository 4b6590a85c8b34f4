"""RawValue and RawArray: ctypes objects in shared memory, without a lock; and `copy` of one."""

from __future__ import annotations

import ctypes

from polyproc._lazy import said
from polyproc._memory.block import allocate
from polyproc._pickling.pickler import ForkingPickler
from polyproc._typing import TYPE_CHECKING, Any

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
        codes = " ".join(typecode_to_type)
        text = said("wrong_type_code", kind, codes)
        raise TypeError(f"{error}: {text}") from None
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
