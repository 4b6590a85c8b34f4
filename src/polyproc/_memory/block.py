"""Block: anonymous shared bytes, as a buffer; on the C core in one of its chunks, else in a file of its own.

A block is gone with the last process that has it, whatever way they end. It is pickled to a child that is being started
and through any connection, queue or task.
"""

from __future__ import annotations

import sys

from polyproc._base.modules import os, public
from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._pickling.sending import live_fd
from polyproc._platform.handles import HeldBack
from polyproc._platform.posix import anonymous_memory, mapped

if TYPE_CHECKING or native:
    from polyproc._pickling.chunk import CoreBlock


class FileBlock:
    """A block in an anonymous file of its own."""

    def __init__(self, size: int, fd: int | None = None) -> None:
        with HeldBack():
            self.fd = fd if fd is not None else anonymous_memory("polyproc-block", max(size, 1))
        self._size = size
        try:
            self.buffer = memoryview(mapped(self.fd, max(size, 1)))[:size]
        except OSError as error:
            text = f"{error.strerror}: {size} bytes of shared memory were asked for"
            raise OSError(error.errno, text) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, (self._size, live_fd(self.fd, owner=self))

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


def _receive(size: int, sent: Any) -> FileBlock:
    return FileBlock(size, sent.detach())


if TYPE_CHECKING:
    from typing import TypeAlias

    Block: TypeAlias = FileBlock | CoreBlock


def allocate(size: int) -> Block:
    """Return `size` zero bytes. Raises OSError (ENOMEM, EMFILE)."""
    return CoreBlock("B", size, None) if native else FileBlock(size)


# BufferWrapper: a block under the name that the standard library's heap gives it.


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
