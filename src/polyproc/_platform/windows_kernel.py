"""What is another in `_base/modules` on Windows: the calls of `os` that take a descriptor, for HANDLEs.

Pipes are named ones with overlapped I/O: a wait for one can be broken off, and several threads and processes may use
one end at once. A file is reached by a duplicate that the C library knows by a number, for one call.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import errno
import itertools
import mmap
import msvcrt
import os as _os
from contextlib import contextmanager

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

_MAX_AT_ONCE = 1 << 20  # bytes of one read of nobody knows how many: memory is taken for all of them
_MAX_WRITE = 1 << 30  # bytes of one write, and of a message
_SMALL = 1 << 16  # bytes of a pipe's memory
_ENDED = {38, 64, 109, 232, 233}  # HANDLE_EOF, NETNAME_DELETED, BROKEN_PIPE, NO_DATA, PIPE_NOT_CONNECTED
DISK, PIPE = 1, 3  # GetFileType
_ACCESS, _SHARE, _CREATE_NEW = 0x80000000 | 0x40000000 | 0x10000, 7, 1  # to read, write and delete; so may all others
_TEMPORARY, _DELETE_ON_CLOSE = 0x100, 0x04000000
_FIRST_INSTANCE, _OVERLAPPED = 0x80000, 0x40000000
_GENERIC_READ, _GENERIC_WRITE, _OPEN_EXISTING = 0x80000000, 0x40000000, 3
_PIPE_ACCESS_INBOUND, _PIPE_ACCESS_DUPLEX = 1, 3
_READ_MESSAGES, _OF_MESSAGES = 2, 4  # PIPE_READMODE_MESSAGE, PIPE_TYPE_MESSAGE

_count = itertools.count()
_never_block: set[int] = set()
unfinished: dict[int, tuple[Any, memoryview]] = {}  # writes to pipes that do not block: the rest goes as they are read
unread: dict[int, bytes] = {}  # what was read as a wait was broken off


def type_of_file(handle: int) -> int:
    """Return whether a handle is of a file on a disk, or of a pipe or socket; 0 for anything else."""
    try:
        return _winapi.GetFileType(handle)
    except OSError:  # a process, an event, or nothing
        return 0


def may_be_socket(handle: int) -> bool:
    """Return false for what surely is no socket, since nobody has loaded what makes one."""
    return sys.modules.get("_socket") is not None and type_of_file(handle) == PIPE


def close(handle: int) -> None:
    """Close a handle, of a socket too."""
    _never_block.discard(handle)
    unread.pop(handle, None)
    if (rest := unfinished.pop(handle, None)) is not None:
        _cancel(rest[0])
    if may_be_socket(handle):
        try:
            sys.modules["_socket"].close(handle)
            return
        except OSError:  # a pipe
            pass
    _winapi.CloseHandle(handle)


def dup(handle: int, inheritable: bool = False, access: int | None = None) -> int:
    """Return another handle of the same thing; with less access, if given."""
    own = _winapi.GetCurrentProcess()
    options = _winapi.DUPLICATE_SAME_ACCESS if access is None else 0
    return _winapi.DuplicateHandle(own, handle, own, access or 0, inheritable, options)


def pipe(duplex: bool = False) -> tuple[int, int]:
    """Make a pipe; return what is read from and what is written to, or both ends of one that goes both ways.

    What is written at once is one message: it is not there if its writer is killed before all of it is.
    """
    name = rf"\\.\pipe\polyproc-{_os.getpid()}-{next(_count)}-{_os.urandom(8).hex()}"
    first_access = _PIPE_ACCESS_DUPLEX if duplex else _PIPE_ACCESS_INBOUND
    second_access = _GENERIC_WRITE | (_GENERIC_READ if duplex else 0)
    first = _winapi.CreateNamedPipe(
        name,
        first_access | _OVERLAPPED | _FIRST_INSTANCE,
        _OF_MESSAGES | _READ_MESSAGES,
        1,
        _SMALL,
        _SMALL,
        0,
        _winapi.NULL,
    )
    try:
        second = _winapi.CreateFile(name, second_access, 0, _winapi.NULL, _OPEN_EXISTING, _OVERLAPPED, _winapi.NULL)
    except BaseException:
        _winapi.CloseHandle(first)
        raise
    try:
        if duplex:
            _winapi.SetNamedPipeHandleState(second, _READ_MESSAGES, None, None)
        connecting = _winapi.ConnectNamedPipe(first, overlapped=True)
        connecting.GetOverlappedResult(True)
    except BaseException:
        close(first)
        close(second)
        raise
    return first, second


def set_blocking(handle: int, blocking: bool) -> None:
    """Set whether reads and writes of this process wait, or raise BlockingIOError. Sockets are left as they are."""
    (_never_block.discard if blocking else _never_block.add)(handle)


def read(handle: int, size: int) -> bytes:
    """Read up to `size` bytes; none at the end."""
    if handle in unread:
        data = unread.pop(handle)
        if len(data) > size:
            unread[handle] = data[size:]
        return data[:size]
    if type_of_file(handle) == DISK:
        with file_number(handle) as fd:
            return _os.read(fd, size)
    try:
        if handle in _never_block:
            there = int(_winapi.PeekNamedPipe(handle, 0)[0])
            if not there:
                raise BlockingIOError(errno.EAGAIN, "nothing is there")
            size = min(size, there)
        if size > _MAX_AT_ONCE and size != message_length(handle):
            size = _MAX_AT_ONCE
        operation, _ = _winapi.ReadFile(handle, size, overlapped=True)
        return _finish_read(handle, operation)
    except OSError as error:
        if error.winerror in _ENDED:
            return b""
        raise


def message_length(handle: int) -> int | None:
    """Return how long the message is that comes next, 0 if there is none yet; None where that cannot be told."""
    if handle in unread:
        return None
    try:
        there, length = _winapi.PeekNamedPipe(handle)  # type: ignore[misc]  # three with a size alone
    except OSError:  # a socket, or the end
        return None
    return length if length or not there else None


def _finish_read(handle: int, operation: Any) -> bytes:
    try:
        wait_for(operation)
    except BaseException:  # of a signal's handler
        _cancel(operation)
        data = operation.getbuffer()
        if data:
            unread[handle] = bytes(data)
        raise
    operation.GetOverlappedResult(True)
    return bytes(operation.getbuffer())


def wait_for(operation: Any) -> None:
    """Wait until an operation is done; a signal's handler may run, and what it raises comes through."""
    _winapi.WaitForMultipleObjects([operation.event], False, _winapi.INFINITE)


def _cancel(operation: Any) -> int:
    """Break an operation off; return how many bytes it had done."""
    try:
        operation.cancel()
        return int(operation.GetOverlappedResult(True)[0])
    except OSError:
        return 0


def readv(handle: int, buffers: Sequence[memoryview]) -> int:
    """Read into the first buffer; return how many bytes."""
    [view] = buffers
    data = read(handle, view.nbytes)
    view[: len(data)] = data
    return len(data)


def write(handle: int, data: bytes | memoryview) -> int:
    """Write `data`, at once; only some of it where that would have to wait, and may not. Return how many bytes."""
    if not data:
        return 0  # it would be a message, which looks like the end
    if type_of_file(handle) == DISK:
        with file_number(handle) as fd:
            return _os.write(fd, data)
    if handle in _never_block:
        return _write_now(handle, data)
    try:
        operation, _ = _winapi.WriteFile(handle, data[:_MAX_WRITE], overlapped=True)
        try:
            wait_for(operation)
        except BaseException:
            _cancel(operation)
            raise
        return operation.GetOverlappedResult(True)[0]
    except OSError as error:
        raise _as_broken(error) from None


def _write_now(handle: int, data: bytes | memoryview) -> int:
    """Begin to write, and have the pipe take it all by and by; raise BlockingIOError while it takes what was before."""
    try:
        if handle in unfinished and not _go_on(handle):
            raise BlockingIOError(errno.EAGAIN, "the pipe is full")
        kept = memoryview(bytes(data[:_MAX_AT_ONCE]))
        operation, _ = _winapi.WriteFile(handle, kept, overlapped=True)
        unfinished[handle] = operation, kept
        _go_on(handle)
    except OSError as error:
        raise _as_broken(error) from None
    return len(kept)


def _go_on(handle: int) -> bool:
    """Return whether a write that was begun is done; one whose thread has ended was broken off, and goes on here."""
    operation, data = unfinished[handle]
    if _winapi.WaitForSingleObject(operation.event, 0) != _winapi.WAIT_OBJECT_0:
        return False
    del unfinished[handle]
    done, error = operation.GetOverlappedResult(True)
    if error != _winapi.ERROR_OPERATION_ABORTED:
        return True
    operation, _ = _winapi.WriteFile(handle, data[done:], overlapped=True)
    unfinished[handle] = operation, data[done:]
    return _go_on(handle)


def _as_broken(error: OSError) -> OSError:
    return BrokenPipeError(errno.EPIPE, "the other end is closed") if error.winerror in _ENDED else error


def writev(handle: int, buffers: Sequence[bytes | memoryview]) -> int:
    """Write the two buffers, one behind the other, as `write` does; return how many bytes."""
    first, second = buffers
    return write(handle, b"".join((first, second)) if len(first) else second)


@contextmanager
def file_number(handle: int) -> Iterator[int]:
    """Give a file the number by which the C library knows it, for a while."""
    fd = msvcrt.open_osfhandle(dup(handle), _os.O_RDWR | _os.O_BINARY)
    try:
        yield fd
    finally:
        _os.close(fd)


def _with_number(handle: int, act: Callable[[int], Any]) -> Any:
    with file_number(handle) as fd:
        return act(fd)


# A file's position is one for all threads and processes that have it, so reading and writing at an offset go by its
# memory: what one moves is not where another is about to write.


def pread(handle: int, size: int, offset: int) -> bytes:
    """Read at an offset; fewer bytes at the end of the file."""
    with file_number(handle) as fd:
        end = min(offset + size, _os.fstat(fd).st_size)
        if end <= offset:
            return b""
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        with mmap.mmap(fd, end - start, access=mmap.ACCESS_READ, offset=start) as memory:
            return memory[offset - start :]


def pwrite(handle: int, data: bytes | memoryview, offset: int) -> int:
    """Write at an offset; a file that ends before is made longer."""
    piece = memoryview(data)[:_MAX_WRITE]
    if not piece:
        return 0
    start = offset - offset % mmap.ALLOCATIONGRANULARITY
    with file_number(handle) as fd, mmap.mmap(fd, offset - start + len(piece), offset=start) as memory:
        memory[offset - start :] = piece
    return len(piece)


def ftruncate(handle: int, size: int) -> None:
    """Make a file `size` bytes long."""
    _with_number(handle, lambda fd: _os.ftruncate(fd, size))


def fstat(handle: int) -> _os.stat_result:
    """Return what is known of a file."""
    return _with_number(handle, _os.fstat)  # type: ignore[no-any-return]


def lseek(handle: int, offset: int, whence: int) -> int:
    """Set the position of a file, which all its handles share."""
    return _with_number(handle, lambda fd: _os.lseek(fd, offset, whence))  # type: ignore[no-any-return]


def set_inheritable(handle: int, inheritable: bool) -> None:
    """Set whether a handle goes to programs that are started with all that can be inherited."""
    _os.set_handle_inheritable(handle, inheritable)


def unnamed_file() -> int:
    """Make a file that is gone with its last handle, whatever way its holders end; its data stay in memory."""
    flags = _TEMPORARY | _DELETE_ON_CLOSE
    folders = [_os.environ.get(name, "") for name in ("TEMP", "TMP", "LOCALAPPDATA", "USERPROFILE")]
    refused: OSError | None = None
    for folder in (*filter(None, folders), _os.getcwd()):
        path = _os.path.join(folder, f"polyproc-{_os.getpid()}-{_os.urandom(8).hex()}")
        try:
            return _winapi.CreateFile(path, _ACCESS, _SHARE, _winapi.NULL, _CREATE_NEW, flags, _winapi.NULL)
        except OSError as error:  # there is no such folder, or it is not ours
            refused = refused or error
    assert refused is not None
    raise refused


class _System:
    """`os`, with the calls above in place of its own. One instance, `os`."""

    WNOHANG = 1

    close = staticmethod(close)
    dup = staticmethod(dup)
    fstat = staticmethod(fstat)
    ftruncate = staticmethod(ftruncate)
    lseek = staticmethod(lseek)
    pipe = staticmethod(pipe)
    pread = staticmethod(pread)
    pwrite = staticmethod(pwrite)
    read = staticmethod(read)
    readv = staticmethod(readv)
    set_blocking = staticmethod(set_blocking)
    set_inheritable = staticmethod(set_inheritable)
    write = staticmethod(write)
    writev = staticmethod(writev)

    def __getattr__(self, name: str) -> Any:
        return getattr(_os, name)


os = _System()
