"""The base of SharedMemory without the C core: csrc/bind/py_shared_memory.c in Python.

A process that is killed between `shm_open` for a name that it was given and the tracker's line leaves the segment; with
the core it does not.
"""

from __future__ import annotations

import _posixshmem
import contextlib
import errno
import math
import mmap
import os

from polyproc._base.modules import said
from polyproc._base.typing import Any, Iterator
from polyproc._memory.tracker import PREFIX
from polyproc._platform.handles import HeldBack
from polyproc._platform.posix import reserves

_TRIES = 100
_STEP = 1 << 20  # bytes; older kernels (not 6.18) undo a step in which a signal comes: with a timer only small ones end


def segment_name(mark: str = "") -> str:
    """Return a random name for a segment."""
    return PREFIX + mark + os.urandom(4).hex()


class PortableSegment:
    """A named segment. A subclass has a tracker, and names for segments that are given none."""

    _name: str | None = None
    _fd = -1
    _mmap: mmap.mmap | None = None
    _buf: memoryview | None = None
    _size = 0
    _track = True
    _tracker: Any
    _make_filename: Any

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
        self._track = track
        with HeldBack():
            if not create:
                self._open("/" + name, os.O_RDWR)  # type: ignore[operator]
                self._map()
            elif name is None:
                self._create_somewhere(size)
            else:
                self._create("/" + name, size)

    def _create(self, name: str, size: int) -> None:
        self._open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        with self._undone():
            self._fill(size)
            info = os.fstat(self._fd)
            self._tell("register", (info.st_dev, info.st_ino))

    def _create_somewhere(self, size: int) -> None:
        for _ in range(_TRIES):
            make = type(self)._make_filename
            mark = self._tracker.marked() if self._track and make is segment_name else ""
            try:
                if not mark:
                    self._create(make(), size)
                    return
                self._open(segment_name(mark), os.O_RDWR | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                continue
            with self._undone():  # the tracker knows of it by its name
                self._fill(size)
            return
        raise FileExistsError(errno.EEXIST, "no free name was found for a shared memory segment")

    def _open(self, name: str, flags: int) -> None:
        self._fd = _posixshmem.shm_open(name, flags, mode=0o600)
        self._name = name

    def _fill(self, size: int) -> None:
        _reserve(self._fd, size)
        self._map()

    def _map(self) -> None:
        self._size = os.fstat(self._fd).st_size
        self._mmap = mmap.mmap(self._fd, self._size)
        self._buf = memoryview(self._mmap)

    def _place(self) -> list[tuple[int, int]]:
        """Return the device and inode of what has its name, as arguments; nothing if there is none."""
        try:
            fd = _posixshmem.shm_open(self._name, os.O_RDONLY, mode=0o600)
        except OSError:
            return []
        info = os.fstat(fd)
        os.close(fd)
        return [(info.st_dev, info.st_ino)]

    def _tell(self, what: str, *place: tuple[int, int]) -> None:
        if self._track:  # what programs put in place of these takes a name and a kind
            getattr(self._tracker, what)(self._name, "shared_memory", *(() if self._tracker.is_replaced() else place))

    @contextlib.contextmanager
    def _undone(self) -> Iterator[None]:
        """Leave nothing if the block fails."""
        try:
            yield
        except BaseException:
            self.close()
            _posixshmem.shm_unlink(self._name)
            raise

    def __del__(self) -> None:
        try:
            self.close()
        except (OSError, BufferError):  # somebody still has a view of it: it is unmapped with the last
            self._close_fd()

    @property
    def buf(self) -> memoryview:
        """The bytes; None after `close`."""
        return self._buf  # type: ignore[return-value]

    @property
    def name(self) -> str:
        """The name, by which other processes attach."""
        name = self._name or ""
        return name[1:] if name.startswith("/") else name

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
        self._close_fd()

    def _close_fd(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def unlink(self) -> None:
        """Remove the name; the memory is freed when the last process has closed it. To be called once."""
        if self._name is not None:
            place = self._place()
            _posixshmem.shm_unlink(self._name)
            if not self._tracker.covers(self._name):
                self._tell("unregister", *place)


def _room(fd: int) -> float:
    """Return how many bytes the file system of a segment has left; no limit where it is in none, as on macOS."""
    try:
        room = os.fstatvfs(fd)
    except OSError:
        return math.inf
    return room.f_bavail * room.f_frsize


def _reserve(fd: int, size: int) -> None:
    """Give a new segment its size and its memory: where the file system is full this fails, not a later access."""
    try:
        if size > _room(fd):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not reserves.may_work:
            os.ftruncate(fd, size)
            return
        for start in range(0, size, _STEP):
            os.posix_fallocate(fd, start, min(_STEP, size - start))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EPERM):
            error.add_note(f"there is no room for {size} bytes in the file system of shared memory")
            raise
        os.ftruncate(fd, size)  # a file system that cannot promise, a filter, or no file system
