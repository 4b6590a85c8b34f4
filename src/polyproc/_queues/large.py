"""Large messages of a queue: how they lie in a slot (csrc/core/pp_slot.h), and what their record says.

    record of bytes:    slot | 0 bytes, 1 bytearray | length                        slot: the bytes
    record of a pickle: slot | buffers | length of the pickle if it is there | all  slot: [pickle] buffer, buffer, ...
                        offset, length of each buffer | the pickle if it is small

Buffers are those that pickle keeps apart (PEP 574): arrays, mostly. The receiver maps them: they are not copied, they
can be written to, and what is written is nobody else's.
"""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
import struct

import polyproc._core as core
from polyproc._pickling.pickler import dumps_through
from polyproc._typing import Any

BYTES, PICKLE, LARGE_BYTES, LARGE_PICKLE = 1, 2, 3, 4
NO_SLOT = None
MOST = 65536  # bytes of a record; what is longer goes to a slot

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


def record_of(queue: core.Queue, data: bytes, buffers: list[memoryview]) -> Packed:
    """Make a record of a pickle and the buffers that were kept apart from it."""
    table_size = _PICKLE.size + _BUFFER.size * len(buffers)
    if not buffers and len(data) <= MOST:
        return PICKLE, data, NO_SLOT
    parts: list[tuple[int, bytes | memoryview]] = []
    end = 0
    apart = table_size + len(data) > MOST
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
    """Make the object of a large pickle that was taken; its slot goes back when nobody looks at it any more."""
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
