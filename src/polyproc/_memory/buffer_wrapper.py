"""BufferWrapper: a block under the name that the standard library's heap gives it."""

from __future__ import annotations

import sys

from polyproc._memory.block import allocate
from polyproc._public import public
from polyproc._typing import Any


@public("heap")
class BufferWrapper:
    """`size` zero bytes of shared memory; `create_memoryview()` gives access."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"Size {size} out of range")
        if sys.maxsize <= size:
            raise OverflowError(f"Size {size} too large")
        self._block: Any = allocate(size)
        self._size = size

    def create_memoryview(self) -> memoryview:
        """Return a view of the bytes."""
        return memoryview(self._block.buffer)[: self._size].cast("B")
