"""What SharedMemory is made of on Windows: a section of the page file with a name.

It is there as long as a process has it open: `unlink` does nothing.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import errno
import mmap
import os

from polyproc._base.modules import said
from polyproc._base.typing import Any
from polyproc._memory.windows_tracker import PREFIX

_TRIES = 100


def segment_name(mark: str = "") -> str:
    """Return a random name for a segment."""
    return PREFIX + os.urandom(4).hex()


class PortableSegment:
    """A named segment. Who extends it has names for segments that are given none."""

    _name: str | None = None
    _mmap: mmap.mmap | None = None
    _buf: memoryview | None = None
    _size = 0
    _make_filename: Any
    _tracker: Any

    def __init__(self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool = True) -> None:
        if type(size) is not int:
            size = said("whole", size, "size is a number of bytes")
        if not size >= 0:
            raise ValueError("'size' must be a positive integer")
        if create and size == 0:
            raise ValueError("'size' must be a positive number different from zero")
        if name is None and not create:
            raise ValueError("'name' can only be None if create=True")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a segment must be a str, and not {name!r}: write size=... for its size")
        if name is not None and "\0" in name:
            raise ValueError("embedded null character")
        PortableSegment.close(self)  # nothing, unless this is called a second time
        if not create:
            assert name is not None
            self._attach(name)
        elif name is None:
            self._create_somewhere(size)
        else:
            self._create(name, size)

    def _create(self, name: str, size: int) -> None:
        section = _winapi.CreateFileMapping(
            _winapi.INVALID_HANDLE_VALUE, _winapi.NULL, _winapi.PAGE_READWRITE, size >> 32, size & 0xFFFFFFFF, name
        )
        try:
            if _winapi.GetLastError() == _winapi.ERROR_ALREADY_EXISTS:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name, _winapi.ERROR_ALREADY_EXISTS)
            self._map(name, size)
        finally:
            _winapi.CloseHandle(section)

    def _create_somewhere(self, size: int) -> None:
        for _ in range(_TRIES):
            try:
                self._create(type(self)._make_filename(), size)
            except FileExistsError:
                continue
            return
        raise FileExistsError(errno.EEXIST, "no free name was found for a shared memory segment")

    def _attach(self, name: str) -> None:
        section = _winapi.OpenFileMapping(_winapi.FILE_MAP_READ, False, name)
        try:
            view = _winapi.MapViewOfFile(section, _winapi.FILE_MAP_READ, 0, 0, 0)
            try:
                size = _winapi.VirtualQuerySize(view)
            finally:
                _winapi.UnmapViewOfFile(view)
            self._map(name, size)
        finally:
            _winapi.CloseHandle(section)

    def _map(self, name: str, size: int) -> None:
        self._mmap = mmap.mmap(-1, size, tagname=name)
        self._buf = memoryview(self._mmap)
        self._name, self._size = name, size

    def __del__(self) -> None:
        try:
            self.close()
        except (OSError, BufferError):  # somebody still has a view of it: it is unmapped with the last
            pass

    @property
    def buf(self) -> memoryview:
        """The bytes; None after `close`."""
        return self._buf  # type: ignore[return-value]

    @property
    def name(self) -> str:
        """The name, by which other processes attach."""
        return self._name or ""

    @property
    def size(self) -> int:
        """The size in bytes; who attaches sees whole pages."""
        return self._size

    def close(self) -> None:
        """Unmap it here; other processes are not concerned. Raises BufferError while views of it are in use."""
        if self._buf is not None:
            self._buf.release()
            self._buf = None
        if self._mmap is not None:
            self._mmap.close()
            self._mmap = None

    def unlink(self) -> None:
        """Do nothing: the segment is gone when the last process has closed it."""
