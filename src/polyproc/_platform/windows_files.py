"""What is another in `posix` on Windows: files without a name, and handles that are kept for long."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import mmap

from polyproc._base.modules import load
from polyproc._platform import windows_kernel as kernel

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any


def temporary_folder() -> str:
    """Return where files are that nobody keeps."""
    environ: Any = load("os", "environ")
    return str(environ.get("TEMP", "."))


def close_on_exec(*handles: int) -> None:
    """Do nothing: a handle is inherited by those alone that are given it."""


def anonymous_file(name: str) -> int:
    """Make an empty file without a name for anybody else; return its handle."""
    return kernel.unnamed_file()


def anonymous_memory(name: str, size: int) -> int:
    """Make an anonymous file of `size` zero bytes, to be mapped; return its handle."""
    handle = kernel.unnamed_file()
    try:
        kernel.ftruncate(handle, size)
    except BaseException:
        kernel.close(handle)
        raise
    return handle


def mapped(handle: int, size: int) -> Any:
    """Map a file, to be read and written, shared with all that have it."""
    with kernel.file_number(handle) as fd:
        return mmap.mmap(fd, size)


class LongLived:
    """A handle that this process keeps for long. No program closes all handles, as some do with descriptors."""

    __slots__ = ("fd",)
    what = None  # which file it is: there is no need to know

    def __init__(self, fd: int = -1) -> None:
        self.fd = fd

    def take(self, fd: int) -> None:
        """Keep a handle, in place of the one before, which is closed."""
        self.close()
        self.fd = fd

    def is_there(self) -> bool:
        """Return whether there is one."""
        return self.fd >= 0

    def close(self) -> None:
        """Close it, if there is one."""
        fd, self.fd = self.fd, -1
        close_quietly(fd)

    def forget(self) -> None:
        """Give the handle up without closing it."""
        self.fd = -1


class OwnFile(LongLived):
    """A long-lived descriptor that is closed with the last reference to it: a user of its number keeps one."""

    __slots__ = ()

    def __del__(self) -> None:
        closing: Any = globals().get("close_quietly")
        if closing is not None:
            self.close()


def close_quietly(*handles: int) -> None:
    """Close handles; negative numbers and ones closed already are passed over."""
    for handle in handles:
        if handle >= 0:
            try:
                kernel.close(handle)
            except OSError:
                pass
