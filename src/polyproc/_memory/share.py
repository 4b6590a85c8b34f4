"""share(obj): pickled once, mapped by every process that gets it.

The large buffers of an object (arrays, bytes-like: pickle protocol 5) lie in one shared block, which receivers map and
do not copy. What arrives is the object itself; who changes its buffers changes them for all.
"""

from __future__ import annotations

import pickle
from types import TracebackType
from typing import Any, Generic, TypeVar

from polyproc._memory.block import allocate
from polyproc._pickling.pickler import ForkingPickler

T = TypeVar("T")

_ALIGNMENT = 64


class Shared(Generic[T]):
    """An object in shared memory: pickled it is a handle, which arrives as the object."""

    def __init__(self, block: Any, sizes: list[int]) -> None:
        self._block = block
        self._sizes = sizes

    def get(self) -> T:
        """Return the object. Raises ValueError after `close`."""
        if self._block is None:
            raise ValueError("the shared object is closed")
        return _load(self._block, self._sizes)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Let go of the memory here; processes that have the object keep it."""
        self._block = None

    def __enter__(self) -> Shared[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._block is None:
            raise ValueError("the shared object is closed")
        return _load, (self._block, self._sizes)


def share(obj: T, /) -> Shared[T]:
    """Put an object into shared memory, once; hand the result to processes, where it arrives as the object.

    The memory is freed when the last process that has it has let go, or is dead.

    Raises:
        Exception: what pickling raises.
        OSError: there is no memory for it.
    """
    buffers: list[pickle.PickleBuffer] = []
    pickled = _dump(obj, buffers)
    parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
    sizes = [part.nbytes for part in parts]
    block = allocate(sum(_padded(size) for size in sizes))
    place = memoryview(block.buffer)
    start = 0
    for part, size in zip(parts, sizes, strict=True):
        place[start : start + size] = part
        start += _padded(size)
    return Shared(block, sizes)


def _dump(obj: object, buffers: list[pickle.PickleBuffer]) -> bytes:
    class Pickler(pickle.Pickler):
        dispatch_table = ForkingPickler._copyreg_dispatch | ForkingPickler._extra_reducers

    file = _Bytes()
    Pickler(file, 5, buffer_callback=buffers.append).dump(obj)
    return bytes(file)


class _Bytes(bytearray):
    def write(self, data: Any) -> int:
        """Take what the pickler writes."""
        self.extend(data)
        return len(data)


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _load(block: Any, sizes: list[int]) -> Any:
    place = memoryview(block.buffer)
    parts = []
    start = 0
    for size in sizes:
        parts.append(place[start : start + size])
        start += _padded(size)
    return pickle.loads(parts[0], buffers=parts[1:])
