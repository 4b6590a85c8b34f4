"""The black box: an anonymous file that a child writes and its parent reads when the child has ended.

It outlives the child, however that ends, and a child never waits for a parent that does not ask.

     offset
          0  kind (1 byte) | 7 bytes unused | length of the result (8 bytes)    written last, by one pwrite: commit
         16  exit code + 1 (8 bytes), 0 while unknown
         24  bytes of output kept so far (8 bytes)
       4096  the last 8192 bytes of output, as a ring
      16384  Python stack at a fatal signal; faulthandler writes at the file's position, which stands here
      65536  the result

| SIGKILL at                      | left behind                | what the parent sees                     |
|---------------------------------|----------------------------|------------------------------------------|
| before or in writing the result | kind 0                     | ProcessDied: no result was given         |
| after the commit                | result, no exit code       | ProcessDied: it did not end by itself    |
| after output, before its count  | output older by one write  | the last write is missing from `output`  |

Every number read from the box is checked: a child may have written anything there.
"""

from __future__ import annotations

from polyproc._kernel import os
from polyproc._platform.posix import LongLived, anonymous_file, pread_all, pwrite_all

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

_EXIT_AT = 16
_OUTPUT_COUNT_AT = 24
_OUTPUT_AT = 4096
_OUTPUT_SIZE = 8192
_STACK_AT = 16384
_STACK_SIZE = 32768
_RESULT_AT = 65536


class Box:
    """One black box, by its descriptor."""

    __slots__ = ("_file", "fd", "kind", "output_count")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._file: LongLived | None = None  # in the parent, which keeps it for long
        self.output_count = 0
        self.kind = NOTHING  # NONE while a return of None waits for note_exit to store it

    @classmethod
    def create(cls) -> Box:
        """Make an empty box. Raises OSError when there is no descriptor left."""
        fd = anonymous_file("polyproc-box")
        os.lseek(fd, _STACK_AT, 0)
        box = cls(fd)
        box._file = LongLived(fd)
        return box

    def check(self) -> None:
        """Raise OSError if this program has closed it: its number is another's then."""
        if self._file is not None and not self._file.is_there():
            raise OSError("this program has closed it")

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            if self._file is None:
                os.close(fd)
            else:
                self._file.close()

    def commit(self, kind: int, data: bytes = b"") -> None:
        """Store the result; it counts from the last store on."""
        if data:
            pwrite_all(self.fd, data, _RESULT_AT)
        os.pwrite(self.fd, kind.to_bytes(8, "little") + len(data).to_bytes(8, "little"), 0)

    def note_exit(self, code: int) -> None:
        """Store the exit code of an orderly end; and that the target returned None, if it did, in the same write."""
        stored = ((code & 0xFF) + 1).to_bytes(8, "little")
        if self.kind:
            os.pwrite(self.fd, self.kind.to_bytes(16, "little") + stored, 0)
        else:
            os.pwrite(self.fd, stored, _EXIT_AT)

    def keep_output(self, data: bytes) -> None:
        """Keep the last bytes of what was written to a standard stream."""
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
