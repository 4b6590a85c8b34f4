"""share(obj): pickled once, mapped by every process that gets it.

The large buffers of an object (arrays, bytes-like: pickle protocol 5) lie in one shared block, which receivers map and
do not copy. What arrives is the object itself, whose buffers can be read; where it was shared to be written to, a
change is seen by all.
"""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
from types import TracebackType

from polyproc._base.typing import Any, Callable, Generic, TypeVar
from polyproc._memory.block import allocate
from polyproc._pickling import sending
from polyproc._pickling.pickler import dumps

T = TypeVar("T")

_ALIGNMENT = 64


class Shared(Generic[T]):
    """An object in shared memory: pickled it is a handle, which arrives as the object."""

    def __init__(self, block: Any, sizes: list[int], writable: bool = False) -> None:
        self._block = block
        self._sizes = sizes
        self._writable = writable
        self._at_close: list[Callable[[], object]] = []

    def get(self) -> T:
        """Return the object. Raises ValueError after `close`."""
        if self._block is None:
            raise ValueError("the shared object is closed")
        return loaded_from(self._block, self._sizes, self._writable)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Unmap the memory here; processes that have the object keep it."""
        self._block = None
        while self._at_close:
            self._at_close.pop()()

    def call_at_close(self, function: Callable[[], object]) -> None:
        """Call a function when it is closed."""
        self._at_close.append(function)

    def layout(self) -> tuple[list[int], int, bool]:
        """Return the sizes of its parts, of its memory, and whether that may be written to."""
        return self._sizes, sum(map(_padded, self._sizes)), self._writable

    def memory(self) -> memoryview | None:
        """Return its memory; None after `close`."""
        block = self._block
        return None if block is None else memoryview(block.buffer).cast("B")[: sum(map(_padded, self._sizes))]

    def __enter__(self) -> Shared[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._block is None:
            raise ValueError("the shared object is closed")
        pickled = getattr(sending.current(), "pickled_shared", None)
        if pickled is not None:  # on its way to another host
            found: tuple[Any, ...] = pickled(self)
            return found
        return loaded_from, (self._block, self._sizes, self._writable)


def share(obj: T, /, *, writable: bool = False) -> Shared[T]:
    """Put an object into shared memory, once; hand the result to processes, where it arrives as the object.

    Its arrays are views of the one memory: read-only, so that nobody changes by accident what others read. With
    `writable=True` they can be written to, here (`get()`) and there, and all see what somebody writes; a lock is yours
    to bring. `obj` itself is copied, and stays as it is. The memory is freed when the last process that has it has let
    go, or is dead.

    Args:
        obj: the object; what it has of buffers beyond pickle's own types (of arrays, for example) is shared.
        writable: whether its receivers may write to its buffers.

    Raises:
        Exception: what pickling raises.
        OSError: there is no memory for it.
    """
    buffers: list[memoryview] = []
    pickled = dumps(obj, 5, buffers, least=0)
    parts = [memoryview(pickled), *buffers]
    sizes = [part.nbytes for part in parts]
    block = allocate(sum(_padded(size) for size in sizes))
    place = memoryview(block.buffer)
    start = 0
    for part, size in zip(parts, sizes, strict=True):
        place[start : start + size] = part
        start += _padded(size)
    return Shared(block, sizes, writable)


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def loaded_from(block: Any, sizes: list[int], writable: bool) -> Any:
    """Return the object whose parts are in a block."""
    place = memoryview(block.buffer)
    if not writable:
        place = place.toreadonly()
    parts = []
    start = 0
    for size in sizes:
        parts.append(place[start : start + size])
        start += _padded(size)
    return pickle.loads(parts[0], buffers=parts[1:])
