"""A queue of the C core: how it is made, how it travels, and how large messages go through it."""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
import os
import struct

import polyproc._core as core
from polyproc._base.modules import Remade
from polyproc._base.typing import Any, Sequence
from polyproc._pickling.chunk import attach_with, descriptors, registry_to_send
from polyproc._pickling.pickler import dumps_through
from polyproc._pickling.sending import sent_fds
from polyproc._platform.handles import HeldBack
from polyproc._platform.posix import LongLived, close_quietly

# Large messages of a queue: how they lie in a slot (csrc/core/pp_slot.h), and what their record says.
#
#     record of bytes:    slot | 0 bytes, 1 bytearray | length                        slot: the bytes
#     record of a pickle: slot | buffers | length of the pickle if it is there | all  slot: [pickle] buffer, ...
#                         offset, length of each buffer | the pickle if it is small
#
# Buffers are those that pickle keeps apart (PEP 574): arrays, mostly. The receiver maps them: they are not copied,
# they can be written to, and what is written is nobody else's.

BYTES, PICKLE, LARGE_BYTES, LARGE_PICKLE = 1, 2, 3, 4
NO_SLOT = None
MAX_RECORD = 65536  # bytes of a record; what is longer goes to a slot
_BYTES = struct.Struct("<IIQ")
_PICKLE = struct.Struct("<IIQQ")
_BUFFER = struct.Struct("<QQ")
_READONLY = 1 << 63
_ALIGNMENT = 64
Packed = tuple[int, bytes, core.Slot | None]  # the arguments of core.Queue._put_packed: kind, data, slot


def pack(queue: Any, obj: Any) -> Packed:
    """Make a record of an object. Its slot, if it has one, is given back unless it is put.

    Raises:
        Exception: what pickling raised; OSError without memory.
    """
    if type(obj) is bytes or type(obj) is bytearray:
        slot = _filled(queue, len(obj), [(0, obj)])
        return LARGE_BYTES, _BYTES.pack(slot.number, type(obj) is bytearray, len(obj)), slot
    buffers: list[memoryview] = []
    return record_of(queue, dumps_through(obj, queue._memory_fd, 5, buffers), buffers)


def record_of(queue: core.Queue, data: bytes, buffers: Sequence[memoryview], room: int = 0) -> Packed:
    """Make a record of a pickle and the buffers that were kept apart from it, with `room` left for what is added."""
    table_size = _PICKLE.size + _BUFFER.size * len(buffers)
    if not buffers and len(data) <= MAX_RECORD - room:
        return PICKLE, data, NO_SLOT
    parts: list[tuple[int, bytes | memoryview]] = []
    end = 0
    apart = table_size + len(data) > MAX_RECORD - room
    if apart:
        parts.append((0, data))
        end = len(data)
    table = []
    for buffer in buffers:
        start = (end + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
        end = start + buffer.nbytes
        parts.append((start, buffer))
        table.append(_BUFFER.pack(start, buffer.nbytes | (_READONLY if buffer.readonly else 0)))
    slot = _filled(queue, end, parts)
    header = _PICKLE.pack(slot.number, len(buffers), len(data) if apart else 0, end)
    return LARGE_PICKLE, b"".join([header, *table, b"" if apart else data]), slot


def put(queue: core.Queue, record: Packed, deadline: int, tag: int) -> None:
    """Put a record; give its slot back if that fails. Raises as `Queue.put`."""
    try:
        queue._put_packed(*record, deadline, tag)
    except BaseException:
        if record[2] is not None:
            record[2].give()  # at once: the exception's traceback keeps it
        raise


def _filled(queue: core.Queue, size: int, parts: list[tuple[int, Any]]) -> core.Slot:
    slot = queue._slot(size)
    try:
        for offset, part in parts:
            slot.write(offset, part)
    except BaseException:
        slot.give()
        raise
    return slot


def open_record(kind: int, record: bytes, slot: core.Slot | None) -> Any:
    """Make the object of any record that was taken."""
    if kind == PICKLE:
        return pickle.loads(record)
    if slot is None:
        return record
    return slot.open(record) if kind == LARGE_BYTES else unpack(record, slot)


def unpack(record: bytes, slot: core.Slot) -> Any:
    """Make the object of a large pickle that was taken; its slot goes back when nothing refers to it any more."""
    try:
        _, count, apart, size = _PICKLE.unpack_from(record)
        if not count:
            return pickle.loads(slot.read(apart))
        view = memoryview(slot.map(size))
    finally:
        slot.give()  # unless it is mapped
    buffers = []
    for start, length in _BUFFER.iter_unpack(record[_PICKLE.size : _PICKLE.size + count * _BUFFER.size]):
        buffer = view[start : start + (length & ~_READONLY)]
        buffers.append(buffer.toreadonly() if length & _READONLY else buffer)
    stream = view[:apart] if apart else record[_PICKLE.size + count * _BUFFER.size :]
    return pickle.loads(stream, buffers=buffers)


class SharedQueue(Remade, core.Queue):
    """The base of the public queues and of a pool's channels."""

    def _make(self, maxsize: int, joinable: bool, polled: bool = True) -> None:
        # A pipe that is readable while there are items, for a thread that waits for many things; unused until it is
        # asked for.
        with HeldBack():
            signals = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if polled else (-1, -1)
            try:
                self._create(maxsize, joinable, *signals)
            except BaseException:
                close_quietly(*signals)
                raise
        self._signals = tuple(map(LongLived, signals))

    def __getstate__(self) -> tuple[Any, ...]:
        id, offset = self._where()
        fd, registry_fd = descriptors(id)
        signals = [signal.fd for signal in self._signals if signal.is_there()]
        signals = signals if len(signals) == len(self._signals) else []
        return offset, sent_fds(fd, *signals), registry_to_send(registry_fd)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        offset, sent, sent_registry = state
        fd, *signals = sent.detach()
        signals = signals or [-1, -1]
        try:
            id = attach_with(fd, sent_registry)
            try:
                self._attach(id, offset, *signals)
            finally:
                core.detach(id)
        except BaseException:
            close_quietly(*signals)
            raise
        finally:
            os.close(fd)
        self._signals = tuple(map(LongLived, signals))

    def _memory_fd(self) -> int:
        """Return the descriptor of its memory: its holders may get the items (_pickling/in_transit.py)."""
        return descriptors(self._where()[0])[0]

    def fileno(self) -> int:
        """Return a descriptor that is readable while there are items, for `wait` and selectors.

        It may be readable when another consumer has just taken the last item. It is not to be read from.
        """
        return self._poll_on()

    def _put_other(self, obj: Any, deadline: int, tag: int) -> None:
        """Put what is not plain data, or is large. The core calls it."""
        try:
            record = pack(self, obj)
        except Exception as error:
            if not self._refused(error, obj):
                raise
            return
        put(self, record, deadline, tag)

    def _get_large(self, record: bytes, slot: core.Slot) -> Any:
        """Return the object of a large pickle. The core calls it."""
        return unpack(record, slot)

    def _refused(self, error: Exception, obj: Any) -> bool:
        """Return whether a subclass has handled an object that could not be pickled; else the error is raised."""
        return False
