"""What every POSIX system has, and the few things of Linux that need no other file.

A newborn child loads this, so it imports next to nothing.
"""

from __future__ import annotations

import sys

from polyproc._kernel import os
from polyproc._lazy import load

IS_WINDOWS = sys.platform == "win32"
IS_MACOS = sys.platform == "darwin"

HAVE_FORK = hasattr(os, "fork") and not IS_WINDOWS


have_abstract_sockets = sys.platform == "linux"  # unix(7)


def start_methods() -> list[str]:
    """Return the start methods of this system, the default one first."""
    if not HAVE_FORK:
        return ["spawn"]
    if IS_MACOS:
        return ["spawn", "fork", "forkserver"]
    if sys.version_info >= (3, 14):
        return ["forkserver", "fork", "spawn"]
    return ["fork", "spawn", "forkserver"]


def anonymous_file(name: str) -> int:
    """Make an empty file without a name, close-on-exec; return its descriptor.

    A memfd (memfd_create(2)) on Linux: it is gone with its last descriptor, whatever way its holders end.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    return _unlinked_file()


def file_with(name: str, data: bytes) -> int:
    """Make an anonymous file that holds `data`; return its descriptor."""
    fd = anonymous_file(name)
    try:
        pwrite_all(fd, data, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _unlinked_file() -> int:
    """The same on other systems: a file whose name is removed at once."""
    directory = load("os", "environ").get("TMPDIR", "/tmp")  # type: ignore[attr-defined]
    path = f"{directory}/polyproc-{os.getpid()}-{os.urandom(8).hex()}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return fd


def pwrite_all(fd: int, data: bytes, offset: int) -> None:
    """Write the whole of `data` at `offset`."""
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view = view[count:]
        offset += count


def pread_all(fd: int, length: int, offset: int) -> bytes:
    """Read `length` bytes at `offset`; fewer only at the end of the file."""
    pieces = []
    while length > 0:
        piece = os.pread(fd, min(length, 1 << 30), offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces)


def close_quietly(*fds: int) -> None:
    """Close descriptors; negative numbers and ones closed already are passed over."""
    for fd in fds:
        if fd >= 0:
            try:
                os.close(fd)
            except OSError:  # closed by somebody else: there is nothing left to give back
                pass
