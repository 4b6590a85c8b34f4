"""Standard streams that also keep their last lines in the black box, so that a death can be told with them."""

from __future__ import annotations

import sys
from io import BufferedWriter, FileIO, TextIOWrapper

from polyproc._process.box import Box

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
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
            self.original = stream  # last: who sees it, in another thread, finds the other, too

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
