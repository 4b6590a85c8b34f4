"""Standard streams that also keep their last lines in the black box, so that a death can be told with them."""

from __future__ import annotations

import _signal
import sys
from io import BufferedWriter, FileIO, TextIOWrapper

from polyproc._base.modules import os
from polyproc._base.process_state import process_state
from polyproc._platform.posix import LongLived, anonymous_file, memfd, pread_all, pwrite_all

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from _typeshed import ReadableBuffer


class OutputRecorder:
    """Where the streams of this process keep their output. One instance, `recorder`; a fork server has no box.

    Attributes:
        box: takes the output, None for none.
        to_fill: takes the result of the life that begins now, None for none.
    """

    def __init__(self) -> None:
        self.box: Box | None = None
        self.to_fill: Box | None = None


recorder = OutputRecorder()


class RecordedFileIO(FileIO):
    """A descriptor's raw stream; what is written goes to the box too."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write as FileIO does."""
        count = super().write(data)
        if recorder.box is not None and count:
            try:
                recorder.box.keep_output(bytes(memoryview(data).cast("B")[:count]))
            except OSError:  # the box is gone or full: the output itself was written, which is what counts
                recorder.box = None
        return count


class RecordedStream:
    """A stand-in for one standard stream, of the same kind, that also keeps its output.

    Only the interpreter's own stream is replaced, never an object that a program put there.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.original: object = None
        self.replacement: TextIOWrapper | None = None

    def prepare(self) -> None:
        """Make the stand-in for the stream as it is now."""
        stream = getattr(sys, self.name, None)
        if stream is not self.original:
            self.replacement = _stand_in(self.name, stream)
            self.original = stream  # last: a thread that sees it finds the other, too

    def install(self) -> None:
        """Put the stand-in into `sys`."""
        if self.replacement is not None:
            setattr(sys, self.name, self.replacement)
            setattr(sys, f"__{self.name}__", self.replacement)


def _stand_in(name: str, stream: Any) -> TextIOWrapper | None:
    if type(stream) is not TextIOWrapper or stream is not getattr(sys, f"__{name}__"):
        return None
    buffer: Any = stream.buffer
    raw = buffer.raw if type(buffer) is BufferedWriter else buffer
    if type(raw) is not FileIO or raw.fileno() > 2:
        return None
    kept_raw = RecordedFileIO(raw.fileno(), "w", closefd=False)
    kept_raw.name = raw.name
    buffered: Any = kept_raw if buffer is raw else BufferedWriter(kept_raw)
    replacement = TextIOWrapper(
        buffered,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    replacement.mode = "w"  # type: ignore[misc]  # writable; the standard streams have it
    return replacement


def keep(name: str) -> None:
    """Record the output of `sys.<name>` from now on."""
    stream = RecordedStream(name)
    stream.prepare()
    stream.install()


# `%(processName)s` in log records is the process's own name, also where `multiprocessing` is another library, or
# none.
#
# `logging` asks the module `multiprocessing`, if somebody has imported that, for the name, and else takes
# "MainProcess". That module may be the standard library's, which knows nothing of our processes. So a record that is
# given that default takes our name for this process, as it is at that moment; a record that is given another name keeps
# it, and so does one of a program that has put None in the place of `multiprocessing`.


_DEFAULT = "MainProcess"  # what `logging` takes for a process of which it knows nothing


class _Name:
    """Sets `LogRecord.processName`; a record's own attributes hold it, as `logging` wants them."""

    def __get__(self, record: Any, owner: type | None = None) -> Any:
        if record is None:
            return self
        try:
            return record.__dict__["processName"]
        except KeyError:
            raise AttributeError("processName") from None

    def __set__(self, record: Any, name: str | None) -> None:
        is_ours = name == _DEFAULT and sys.modules.get("multiprocessing", sys) is not None
        record.__dict__["processName"] = process_state.current._name if is_ours else name

    def __delete__(self, record: Any) -> None:
        try:
            del record.__dict__["processName"]
        except KeyError:
            raise AttributeError("processName") from None


class _WhenLogging:
    """A finder that finds nothing: it has `logging` named the moment that it is imported, and is gone then."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return None, but for `logging` the spec that the others find."""
        if name != "logging":
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                _name_after(spec.loader)
                return spec
        return None


def _name_after(loader: Any) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        name_records(module)

    try:
        loader.exec_module = exec_module
    except AttributeError:  # a class of built-in modules, or one with slots
        pass


def name_records(logging: Any) -> None:
    """Make the records of `logging` name the process."""
    if not isinstance(vars(logging.LogRecord).get("processName"), _Name):
        logging.LogRecord.processName = _Name()


def name_log_records() -> None:
    """Make log records name the process from now on, or from when `logging` is imported."""
    logging = sys.modules.get("logging")
    if hasattr(logging, "LogRecord"):
        name_records(logging)
    elif not any(type(finder) is _WhenLogging for finder in sys.meta_path):
        sys.meta_path.insert(0, _WhenLogging())


# The black box: an anonymous file that a child writes and its parent reads when the child has ended.
#
# It outlives the child, however that ends, and a child never waits for a parent that does not ask.
#
#      offset
#           0  kind (1 byte) | is watched (1 byte) | 6 bytes unused | length of the result (8 bytes)
#                                               written last, by one pwrite: commit
#          16  exit code + 1 (8 bytes), 0 while unknown
#          24  bytes of output kept so far (8 bytes)
#        4096  the last 8192 bytes of output, as a ring
#       16384  Python stack at a fatal signal; faulthandler writes at the file's position, which stands here
#       65536  the result
#
# | SIGKILL at                      | left behind                | what the parent sees                     |
# |---------------------------------|----------------------------|------------------------------------------|
# | before or in writing the result | kind 0                     | ProcessDied: no result was given         |
# | after the commit                | result, no exit code       | ProcessDied: it did not end by itself    |
# | after output, before its count  | output older by one write  | the last write is missing from `output`  |
#
# Every number read from the box is checked: a child may have written anything there.


NOTHING = 0
NONE = 1  # returned None
PLAIN = 2  # returned a value that marshal can carry
PICKLED = 3  # returned a value that needs pickle
RAISED = 4  # raised: a pickled exception and its traceback as text
RAISED_TEXT = 5  # raised an exception that cannot be pickled: its type's name and the text, marshalled
UNPICKLABLE = 6  # returned a value that cannot be pickled: the reason, marshalled

# What a child that returned None and came to an orderly end stores: its kind, and its exit code of 0.
RETURNED_NONE = bytes((NONE, *(0,) * 15, 1, *(0,) * 7))
TAKES_STACKS = hasattr(os, "fork")  # faulthandler writes to a descriptor, which a box has everywhere but on Windows
_WATCHED_AT = 1
_LOOKS, _FIRST_PAUSE, _PAUSE = 1000, 0.0001, 0.001  # how often a child looks whether it is watched, and in between
_EXIT_AT = 16
_OUTPUT_COUNT_AT = 24
_OUTPUT_AT = 4096
_OUTPUT_SIZE = 8192
_STACK_AT = 16384
_STACK_SIZE = 32768
_RESULT_AT = 65536


class Box:
    """One black box, by its descriptor."""

    __slots__ = ("fd", "file", "is_unwatched", "kind", "output_count")

    def __init__(self, fd: int, file: LongLived | None = None) -> None:
        self.fd = fd
        self.file = file  # what it is: its holder may close all descriptors and open files of its own
        self.output_count = 0
        # Whether its child may only run when its parent holds what tells how it ends: others may reap it at once.
        self.is_unwatched = False
        self.kind = NOTHING  # NONE while a return of None waits for note_exit to store it

    def create(self) -> None:
        """Make an empty box, which the holder of this object can close. Raises OSError: no descriptor is left."""
        if memfd.has_worked:
            [self.fd] = map(os.memfd_create, ("polyproc-box",))  # one step: a Ctrl-C comes before or after it
        else:
            self.fd = anonymous_file("polyproc-box")
        os.lseek(self.fd, _STACK_AT, 0)
        self.file = LongLived(self.fd)

    @classmethod
    def of(cls, fd: int) -> Box:
        """Return the box of a descriptor that is there now."""
        return cls(fd, LongLived(fd))

    def is_there(self) -> bool:
        """Return whether this program has not closed it: its number is another's then."""
        return self.file is None or self.file.is_there()

    def check(self) -> None:
        """Raise OSError if this program has closed it."""
        if not self.is_there():
            raise OSError("this program has closed the descriptor of a child's black box")

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            if self.file is not None:
                self.file.close()
                self.fd = -1
            else:
                fd, self.fd = self.fd, -1
                os.close(fd)

    def note_watched(self) -> None:
        """Note, in the parent, that it will see how the child ends, whoever reaps it."""
        os.pwrite(self.fd, b"\1", _WATCHED_AT)

    def wait_until_watched(self) -> None:
        """Wait for that in the child, for a second or two: the parent may be stopped."""
        for look in range(_LOOKS):
            if os.pread(self.fd, 1, _WATCHED_AT) == b"\1":
                return
            # A pause that no other library replaces: no signal is waited for.
            _signal.sigtimedwait((), _FIRST_PAUSE if look < _LOOKS // 10 else _PAUSE)

    def commit(self, kind: int, data: bytes = b"") -> None:
        """Store the result; it counts from the last store on."""
        if not self.is_there():
            return
        if data:
            pwrite_all(self.fd, data, _RESULT_AT)
        os.pwrite(self.fd, kind.to_bytes(8, "little") + len(data).to_bytes(8, "little"), 0)

    def note_exit(self, code: int) -> None:
        """Store the exit code of an orderly end; and that the target returned None, if it did, in the same write.

        `live` has the most frequent case in its own frame.
        """
        stored = ((code & 0xFF) + 1).to_bytes(8, "little")
        if not self.is_there():
            return
        if self.kind:
            os.pwrite(self.fd, self.kind.to_bytes(16, "little") + stored, 0)
        else:
            os.pwrite(self.fd, stored, _EXIT_AT)

    def keep_output(self, data: bytes) -> None:
        """Keep the last bytes of what was written to a standard stream."""
        self.check()
        tail = data[-_OUTPUT_SIZE:]
        at = (self.output_count + len(data) - len(tail)) % _OUTPUT_SIZE
        first = tail[: _OUTPUT_SIZE - at]
        os.pwrite(self.fd, first, _OUTPUT_AT + at)
        if len(first) < len(tail):
            os.pwrite(self.fd, tail[len(first) :], _OUTPUT_AT)
        self.output_count += len(data)
        os.pwrite(self.fd, self.output_count.to_bytes(8, "little"), _OUTPUT_COUNT_AT)

    def result(self) -> tuple[int, bytes]:
        """Return (kind, data) of what was committed."""
        header = os.pread(self.fd, 16, 0)
        if len(header) < 16 or not header[0]:
            return NOTHING, b""
        length = int.from_bytes(header[8:], "little")
        if not length:
            return header[0], b""
        if length > max(os.fstat(self.fd).st_size - _RESULT_AT, 0):
            return NOTHING, b""
        return header[0], pread_all(self.fd, length, _RESULT_AT)

    def exit_code(self) -> int | None:
        """Return the exit code that was noted, or None."""
        stored = int.from_bytes(os.pread(self.fd, 8, _EXIT_AT), "little")
        return stored - 1 if 0 < stored <= 256 else None

    def output(self) -> str:
        """Return the last output, whole lines where there are more than the box holds."""
        count = int.from_bytes(os.pread(self.fd, 8, _OUTPUT_COUNT_AT), "little")
        ring = os.pread(self.fd, _OUTPUT_SIZE, _OUTPUT_AT)
        if count <= _OUTPUT_SIZE:
            return ring[:count].decode(errors="replace")
        at = count % _OUTPUT_SIZE
        return (ring[at:] + ring[:at]).partition(b"\n")[2].decode(errors="replace")

    def stack(self) -> str | None:
        """Return what faulthandler wrote, or None."""
        text = os.pread(self.fd, _STACK_SIZE, _STACK_AT).rstrip(b"\0")
        return text.decode(errors="replace") or None
