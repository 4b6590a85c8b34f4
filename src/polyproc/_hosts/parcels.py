"""What goes from host to host: a pickle, and beside it its large buffers, which nobody copies into one.

A parcel is opened where it is received, and only there: its buffers become those of the object. On its way it is sent
from the memory in which it is, and received straight into what the object will have (server_connection.py).
"""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python

from polyproc._base.native import native
from polyproc._base.typing import Any, Sequence
from polyproc._hosts.crossing import Crossing, dumps_across

if native:
    from polyproc._core import dumps_plain

LARGE = 65536  # bytes from which on something travels beside the message that it belongs to


class Parcel:
    """A pickle and its buffers: bytes-like objects."""

    __slots__ = ("memory", "parts", "things")

    def __init__(self, *parts: Any) -> None:
        self.parts: Sequence[Any] = parts
        self.things: Sequence[Any] = ()  # which it speaks of, and which have to live
        self.memory: Any = None  # in which its buffers are, for processes of this host (frames.py)

    def __len__(self) -> int:
        return sum(memoryview(part).nbytes for part in self.parts)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Parcel, tuple((bytes if protocol < 5 else pickle.PickleBuffer)(part) for part in self.parts)

    def copied(self) -> Parcel:
        """Return one that stays as this one is now."""
        return Parcel(*map(bytearray, self.parts))


def pack(obj: object, crossing: Crossing | None = None) -> bytes | Parcel:
    """Pickle for a process on any host. Raises what pickling raises, and ProcessError for what is of this host."""
    if native:
        plain = dumps_plain(obj)
        if plain is not None:
            return plain if len(plain) < LARGE else Parcel(plain)
    apart: list[memoryview] = []
    data = dumps_across(obj, apart, crossing)
    return Parcel(data, *apart) if apart or len(data) >= LARGE else data


def unpack(packed: Any) -> Any:
    """Return what was packed."""
    if type(packed) is Parcel:
        return pickle.loads(packed.parts[0], buffers=packed.parts[1:])
    return pickle.loads(packed)
