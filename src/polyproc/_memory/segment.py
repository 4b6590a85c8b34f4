"""SharedMemory: a named segment, which unrelated processes attach to by its name.

The creator of a segment owns it: it is removed by `unlink`, or by the tracker (`_memory/tracker.py`) when its whole
family of processes has ended without. A process that only attaches never removes it, however it ends; in the standard
library it does.
"""

from __future__ import annotations

import struct
import sys
from types import GenericAlias

from polyproc._base.modules import kind_of, of_kind, public
from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING, Any, Iterable, Iterator
from polyproc._memory.tracker import PREFIX, tracker
from polyproc._platform.posix import IS_WINDOWS

if TYPE_CHECKING or not native:
    from polyproc._memory.portable_segment import PortableSegment as Segment
    from polyproc._memory.portable_segment import segment_name
else:
    from polyproc._core import SharedMemory as Segment
    from polyproc._core import segment_name
_USE_POSIX = not IS_WINDOWS
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


# ShareableList: a list of fixed length in a named segment.
#
#     count (8) | count + 1 offsets (8 each) | data | count packing formats (8 each) | count kinds (1 each)
#
# The layout is the standard library's, so that either may read the other's.

_ALIGNMENT = 8
_VALUE, _TEXT, _BYTES, _NONE = 0, 1, 2, 3


@public("shared_memory")
class ShareableList:
    """A list whose length is fixed: of int, float, bool, str, bytes and None.

    A str or bytes can be replaced by one that is no longer than the place of the first, which is made a multiple of 8
    bytes. Access is not locked: a process that is killed while it writes leaves a half written item.
    """

    _types_mapping = {int: "q", float: "d", bool: "xxxxxxx?", str: "%ds", bytes: "%ds", None.__class__: "xxxxxx?x"}

    def __init__(self, sequence: Iterable[Any] | None = None, *, name: str | None = None) -> None:
        if sequence is None and name is not None:
            self.shm: SharedMemory = SharedMemory(name)
            self._attach()
            return
        items = [] if sequence is None else list(sequence)
        if isinstance(sequence, ShareableList):  # a copy has the same room for its items
            formats = [sequence._get_packing_format(index) for index in range(len(items))]
        else:
            formats = [self._format_of(item) for item in items]
        self._create(items, formats, name)

    def _attach(self) -> None:
        try:
            (self._list_len,) = struct.unpack_from("q", self.shm.buf, 0)
            if not 0 <= self._list_len <= self.shm.size // 8:
                raise ValueError("the segment does not hold a ShareableList")
            self._offsets = list(struct.unpack_from(f"{self._list_len + 1}q", self.shm.buf, 8))
            ordered = self._offsets == sorted(self._offsets) and self._offsets[0] == 0
            if not ordered or self._formats_at(self._list_len) + self._list_len > self.shm.size:
                raise ValueError("the segment does not hold a ShareableList")
        except (struct.error, ValueError) as error:
            raise ValueError("the segment does not hold a ShareableList") from error

    def _create(self, items: list[Any], formats: list[str], name: str | None) -> None:
        self._list_len = len(items)
        self._offsets = [0]
        for item_format in formats:
            self._offsets.append(self._offsets[-1] + struct.calcsize(item_format))
        size = self._formats_at(self._list_len) + self._list_len
        [self.shm] = map(SharedMemory, (name,), (True,), (size,))  # one step: a Ctrl-C comes before or after it
        try:
            self._fill(items, formats)
        except BaseException:
            self.shm.close()
            self.shm.unlink()
            raise

    def _fill(self, items: list[Any], formats: list[str]) -> None:
        buffer = self.shm.buf
        struct.pack_into(f"q{self._list_len + 1}q", buffer, 0, self._list_len, *self._offsets)
        for index, (item, item_format) in enumerate(zip(items, formats, strict=True)):
            struct.pack_into(item_format, buffer, self._data_start + self._offsets[index], _packable(item))
            self._note(index, item_format, item)

    def _format_of(self, item: Any) -> str:
        if type(item) is str or type(item) is bytes:
            length = len(item.encode() if isinstance(item, str) else item)
            return f"{_ALIGNMENT * (length // _ALIGNMENT + 1)}s"
        try:
            return self._types_mapping[type(item)]
        except KeyError:
            raise ValueError(f"type {type(item)!r} for {item!r} cannot be in a ShareableList") from None

    # -- the layout ------------------------------------------------------------------------------------------------

    @property
    def _data_start(self) -> int:
        return (int(self._list_len) + 2) * 8

    def _formats_at(self, index: int) -> int:
        return self._data_start + int(self._offsets[-1]) + index * 8

    def _note(self, index: int, item_format: str, item: Any) -> None:
        kind = {str: _TEXT, bytes: _BYTES, type(None): _NONE}.get(type(item), _VALUE)
        struct.pack_into("8s", self.shm.buf, self._formats_at(index), item_format.encode())
        struct.pack_into("b", self.shm.buf, self._formats_at(self._list_len) + index, kind)

    def _get_packing_format(self, position: int) -> str:
        """Return the struct format of an item."""
        position = position if position >= 0 else position + self._list_len
        if position >= self._list_len or self._list_len < 0:
            raise IndexError("Requested position out of range.")
        (packed,) = struct.unpack_from("8s", self.shm.buf, self._formats_at(position))
        return packed.rstrip(b"\x00").decode()  # type: ignore[no-any-return]

    def _kind(self, position: int) -> int:
        (kind,) = struct.unpack_from("b", self.shm.buf, self._formats_at(self._list_len) + position)
        return int(kind)

    # -- a list ----------------------------------------------------------------------------------------------------

    def __getitem__(self, position: int) -> Any:
        at = position if position >= 0 else position + self._list_len
        if not 0 <= at < self._list_len:
            raise IndexError("index out of range")
        try:
            offset = self._data_start + self._offsets[at]
            (value,) = struct.unpack_from(self._get_packing_format(at), self.shm.buf, offset)
        except (IndexError, struct.error):
            raise IndexError("index out of range") from None
        kind = self._kind(at)
        if kind == _NONE:
            return None
        if kind in (_TEXT, _BYTES):
            value = value.rstrip(b"\x00")
            return value.decode() if kind == _TEXT else value
        return value

    def __setitem__(self, position: int, value: Any) -> None:
        at = position if position >= 0 else position + self._list_len
        if not 0 <= at < self._list_len:
            raise IndexError("assignment index out of range")
        current = self._get_packing_format(at)
        if type(value) in (str, bytes):
            encoded = value.encode() if isinstance(value, str) else value
            room = self._offsets[at + 1] - self._offsets[at]
            if len(encoded) > room:
                raise ValueError("bytes/str item exceeds available storage")
            new = current if current.endswith("s") and current != "s" else f"{room}s"
        else:
            new = self._format_of(value)
        self._note(at, new, value)
        struct.pack_into(new, self.shm.buf, self._data_start + self._offsets[at], _packable(value))

    def __len__(self) -> int:
        return int(self._list_len)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(self._list_len))

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach_list, (kind_of(self), self.shm.name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)}, name={self.shm.name!r})"

    @property
    def format(self) -> str:
        """The struct format of all items."""
        return "".join(self._get_packing_format(index) for index in range(self._list_len))

    def count(self, value: Any) -> int:
        """Return how often a value occurs."""
        return sum(value == item for item in self)

    def index(self, value: Any) -> int:
        """Return the first position of a value. Raises ValueError if it does not occur."""
        for position, item in enumerate(self):
            if value == item:
                return position
        if sys.version_info >= (3, 15):
            raise ValueError(f"ShareableList.index(x): x not in list: {value!r} was given")
        raise ValueError(f"{value!r} not in this container")

    __class_getitem__: Any = classmethod(GenericAlias)


def _packable(item: Any) -> Any:
    return item.encode() if isinstance(item, str) else False if item is None else item


def _attach_list(kind: type | str, name: str) -> ShareableList:
    return of_kind(kind)(name=name)  # type: ignore[no-any-return]
