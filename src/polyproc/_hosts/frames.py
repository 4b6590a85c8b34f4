"""What a pool and its workers on hosts say to each other: messages of a connection, each with a mark.

    mark | number | how many buffers, and their sizes | where they are, or nothing | pickle      then the buffers
    receipt                                                        what was in memory is mapped, or will never be

A mark tells what a task has written into the pipe by mistake: that worker is ended, and nobody waits for the rest of a
message that nobody has sent.

Where both sides are on one host, large buffers stay in memory, which its owner keeps until there is a receipt. The
receiver has them as if they had been sent: what it changes is changed nowhere else.
"""

from __future__ import annotations

import os
import struct
import weakref

from polyproc._base.typing import Any, Sequence
from polyproc._pickling.sending import LiveFd
from polyproc._platform.posix import anonymous_memory, pwrite_all

MARK, RECEIPT = b"\xf5pp\r", b"\xf5ok\r"
LARGEST_SHORT = 0x7FFFFFFF  # of a message's length, in four bytes: see portable_connection.py
LONG = b"\xff\xff\xff\xff"
IN_MEMORY = 1 << 20  # bytes from which on buffers stay in the memory of their host
MAX_IN_MEMORY = 64  # of a process at a time: each has a descriptor
_FIXED = struct.Struct("<4sHHB")  # mark, number, how many buffers, how long it is said where they are
_PLACE = struct.Struct("<IIQ")  # process, descriptor, inode
_SIZE = 8
_MAX_BITS = 47  # of an address: no process has memory for more
_ALIGNMENT = 64


class BrokenFrameError(ValueError):
    """What was received is not a message of the other side."""


class Opening:
    """The header of a message: what is known of it before its buffers come."""

    def __init__(self, data: memoryview) -> None:
        try:
            mark, self.number, count, length = _FIXED.unpack_from(data)
        except struct.error:
            raise BrokenFrameError("a message without a header") from None
        end = _FIXED.size + count * _SIZE
        if mark != MARK or length not in (0, _PLACE.size) or len(data) < end + length:
            raise BrokenFrameError("a message without its mark, or one that is cut off")
        self.sizes = [int.from_bytes(data[at : at + _SIZE], "little") for at in range(_FIXED.size, end, _SIZE)]
        if any(size >> _MAX_BITS for size in self.sizes):
            raise BrokenFrameError("a message with a buffer that is too large")
        self.place: tuple[int, int, int] | None = _PLACE.unpack_from(data, end) if length else None
        self.message = data[end + length :]

    def in_memory(self) -> list[memoryview]:
        """Return the buffers that are in memory of this host. Raises OSError, and RuntimeError if they are gone."""
        assert self.place is not None  # it says where
        process, number, inode = self.place
        fd = LiveFd(process, number, inode, os.O_RDONLY).detach()
        try:
            whole = _own_copy(fd, sum(map(_padded, self.sizes)))
        finally:
            os.close(fd)
        views, start = [], 0
        for size in self.sizes:
            views.append(whole[start : start + size])
            start += _padded(size)
        return views


def opening(number: int, buffers: Sequence[Any], place: bytes = b"") -> bytes:
    """Return what stands before a message's pickle."""
    sizes = [memoryview(buffer).nbytes for buffer in buffers]
    fixed = _FIXED.pack(MARK, number, len(sizes), len(place))
    return b"".join((fixed, *(size.to_bytes(_SIZE, "little") for size in sizes), place))


def header(length: int) -> bytes:
    """Return the header of a message of a connection."""
    return LONG + length.to_bytes(8, "big") if length > LARGEST_SHORT else length.to_bytes(4, "big")


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class HandedMemory:
    """Buffers in memory, for a process of this host to open while this object lives."""

    def __init__(self, buffers: Sequence[Any]) -> None:
        self.fd = -1
        self._sizes = [memoryview(buffer).nbytes for buffer in buffers]
        self.fd = anonymous_memory("polyproc-buffers", sum(map(_padded, self._sizes)))
        start = 0
        for buffer, size in zip(buffers, self._sizes, strict=True):
            pwrite_all(self.fd, memoryview(buffer).cast("B"), start)
            start += _padded(size)
        _handed.add(self)

    def place(self) -> bytes:
        """Return where it is."""
        return _PLACE.pack(os.getpid(), self.fd, os.fstat(self.fd).st_ino)

    def views(self) -> list[memoryview]:
        """Return the buffers, to be sent."""
        whole = memoryview(_mapped(self.fd, sum(map(_padded, self._sizes)), writable=False))
        views, start = [], 0
        for size in self._sizes:
            views.append(whole[start : start + size])
            start += _padded(size)
        return views

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


def handed(buffers: Sequence[Any]) -> HandedMemory | None:
    """Put buffers into memory for a process of this host, if they are large, and there is room for them."""
    if len(_handed) >= MAX_IN_MEMORY or sum(memoryview(buffer).nbytes for buffer in buffers) < IN_MEMORY:
        return None
    try:
        return HandedMemory(buffers)
    except (OSError, MemoryError):
        return None


_handed: weakref.WeakSet[HandedMemory] = weakref.WeakSet()
_mappings: weakref.WeakSet[Any] = weakref.WeakSet()


def _mapped(fd: int, size: int, writable: bool) -> Any:
    import mmap

    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    return mmap.mmap(fd, size, mmap.MAP_PRIVATE, protection)


def _own_copy(fd: int, size: int) -> memoryview:
    """Return what a file has, to be changed here alone: mapped, or read where there are many mappings."""
    if len(_mappings) < MAX_IN_MEMORY:  # each keeps a descriptor
        made = _mapped(fd, size, writable=True)
        _mappings.add(made)
        return memoryview(made)
    whole = memoryview(bytearray(size))
    start = 0
    while start < size:
        count = os.preadv(fd, [whole[start : start + (1 << 30)]], start)
        if not count:
            raise RuntimeError("the memory of a message is shorter than was said")
        start += count
    return whole
