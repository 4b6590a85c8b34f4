"""SharedMemory: a named segment, which unrelated processes attach to by its name.

Who creates a segment owns it: it is removed by `unlink`, or by the tracker (`_memory/tracker.py`) when its whole
family of processes has ended without. A process that only attaches never removes it, however it ends; in the standard
library it does.
"""

from __future__ import annotations

from polyproc._memory.tracker import PREFIX, tracker
from polyproc._native import native
from polyproc._public import kind_of, of_kind, public
from polyproc._typing import TYPE_CHECKING, Any

if TYPE_CHECKING or not native:
    from polyproc._memory.portable_segment import PortableSegment as Segment
    from polyproc._memory.portable_segment import segment_name
else:
    from polyproc._core import SharedMemory as Segment
    from polyproc._core import segment_name

_USE_POSIX = True
_SHM_NAME_PREFIX = PREFIX


@public("shared_memory")
class SharedMemory(Segment):
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

    _tracker = tracker
    _make_filename = staticmethod(segment_name)  # is replaced by programs

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, (kind_of(self), self.name, self.size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, size={self.size})"


def _attach(kind: type | str, name: str, size: int) -> SharedMemory:
    return of_kind(kind)(name, False, size)  # type: ignore[no-any-return]
