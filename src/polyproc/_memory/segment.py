"""SharedMemory: a named segment, which unrelated processes attach to by its name.

Who creates a segment owns it: it is removed by `unlink`, or by the tracker (`_memory/tracker.py`) when its whole
family of processes has ended without. A process that only attaches never removes it, however it ends; in the standard
library it does.
"""

from __future__ import annotations

import _posixshmem
import errno
import mmap
import os
from typing import Any

from polyproc._memory.tracker import tracker

_USE_POSIX = True
_SHM_NAME_PREFIX = "/psm_"
_SAFE_NAME_LENGTH = 14  # macOS allows 31 characters; more here would not make names safer
_TRIES = 100


def _make_filename() -> str:
    """Return a random name for a segment."""
    return _SHM_NAME_PREFIX + os.urandom((_SAFE_NAME_LENGTH - len(_SHM_NAME_PREFIX)) // 2).hex()


class SharedMemory:
    """A segment of shared memory with a name.

    Args:
        name: of an existing segment, or for a new one; None for a random one.
        create: whether to create it.
        size: of a new segment, in bytes; whole pages are made. All its memory is reserved at once.
        track: whether the tracker removes a segment that is created here and never unlinked.

    Raises:
        FileExistsError, FileNotFoundError: there is one of that name, or none.
        OSError: the file system of shared memory is full (ENOSPC). Nothing is left behind.
    """

    _name: str | None = None
    _fd = -1
    _mmap: mmap.mmap | None = None
    _buf: memoryview | None = None
    _prepend_leading_slash = _USE_POSIX

    def __init__(self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool = True) -> None:
        if not size >= 0:
            raise ValueError("'size' must be a positive integer")
        if create and size == 0:
            raise ValueError("'size' must be a positive number different from zero")
        if name is None and not create:
            raise ValueError("'name' can only be None if create=True")
        if name is not None and "\0" in name:
            raise ValueError("embedded null character")
        self._track = track
        self._created = create
        flags = os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0)
        if name is None:
            self._open_random(flags)
        else:
            self._name = "/" + name if self._prepend_leading_slash else name
            self._fd = _posixshmem.shm_open(self._name, flags, mode=0o600)
        try:
            if create:
                _reserve(self._fd, size)
            info = os.fstat(self._fd)
            self._size = info.st_size
            self._mmap = mmap.mmap(self._fd, self._size)
            if create and track:
                tracker.register(self._name, "shared_memory", (info.st_dev, info.st_ino))  # type: ignore[arg-type]
        except BaseException:
            self.close()
            if create:
                _posixshmem.shm_unlink(self._name)
            raise
        self._buf = memoryview(self._mmap)

    def _open_random(self, flags: int) -> None:
        for _ in range(_TRIES):
            name = _make_filename()
            try:
                self._fd = _posixshmem.shm_open(name, flags, mode=0o600)
            except FileExistsError:
                continue
            self._name = name
            return
        raise FileExistsError(errno.EEXIST, "no free name was found for a shared memory segment")

    def __del__(self) -> None:
        try:
            self.close()
        except (OSError, BufferError):  # somebody still has a view of it: it is unmapped with the last
            pass

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, (type(self), self.name, self.size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, size={self.size})"

    @property
    def buf(self) -> memoryview:
        """The bytes; None after `close`."""
        return self._buf  # type: ignore[return-value]

    @property
    def name(self) -> str:
        """The name, by which other processes attach."""
        name = self._name or ""
        return name[1:] if self._prepend_leading_slash and name.startswith("/") else name

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self._size

    def close(self) -> None:
        """Unmap it here; other processes are not concerned. Raises BufferError while views of it are in use."""
        if self._buf is not None:
            self._buf.release()
            self._buf = None
        if self._mmap is not None:
            self._mmap.close()
            self._mmap = None
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def unlink(self) -> None:
        """Remove the name; the memory is freed when the last process has closed it. To be called once."""
        if self._name is not None:
            _posixshmem.shm_unlink(self._name)
            if self._track:
                tracker.unregister(self._name, "shared_memory")


def _reserve(fd: int, size: int) -> None:
    """Give a new segment its size and its memory: where the file system is full this fails, not a later access."""
    while True:
        try:
            os.posix_fallocate(fd, 0, size)
        except InterruptedError:
            continue
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                error.add_note(f"there is no room for {size} bytes in the file system of shared memory")
                raise
            os.ftruncate(fd, size)  # a file system that cannot promise
        return


def _attach(cls: type[SharedMemory], name: str, size: int) -> SharedMemory:
    return cls(name, False, size)
