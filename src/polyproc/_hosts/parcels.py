"""What goes from host to host: a pickle, and beside it its large buffers, which nobody copies into one; what does not.

A parcel is opened where it is received, and only there: its buffers become those of the object. On its way it is sent
from the memory in which it is, and received straight into what the object will have (server_connection.py).
"""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
from pickle import PickleBuffer

from polyproc._base.errors import ProcessError
from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING, Any, NoReturn, Sequence
from polyproc._memory.share import Shared, loaded_from
from polyproc._pickling.pickler import dumps
from polyproc._pickling.sending import while_preparing

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


# What goes to another host: pickled by value alone, and refused at once if it is of this host.

if TYPE_CHECKING:
    from polyproc._hosts.shared_things import SharedThings


def refuse(what: str) -> NoReturn:
    """Raise the error for a descriptor, and what is made of one, on its way to another host."""
    raise ProcessError(
        f"{what} goes to processes on other hosts: it cannot pass a descriptor, nor what is made of one here "
        "(a pipe's end, a socket, shared memory, a lock or a queue of a local context); make it by the same context "
        "as the processes"
    )


class Crossing:
    """Stands for the receiver, where that is any process."""

    method = "another host"

    def duplicate_for_child(self, fd: int) -> int:
        """Refuse: a descriptor is of this host."""
        refuse("a message of a remote context")

    def DupFd(self, fd: int) -> object:
        """Refuse."""
        refuse("a message of a remote context")

    def pickled_shared(self, shared: Shared[Any]) -> tuple[Any, ...]:
        """Return what is pickled for what share() has made: in a message it goes along by value."""
        sizes, _, writable = shared.layout()
        return loaded_from_copy, (PickleBuffer(shared.memory() or b""), sizes, writable)


class NodeCrossing(Crossing):
    """Stands for the receiver, where that is on one of a context's nodes: what many use is sent once to each."""

    def __init__(self, things: SharedThings) -> None:
        self._things = things

    def pickled_shared(self, shared: Shared[Any]) -> tuple[Any, ...]:
        """Return what is pickled for what share() has made."""
        return self._things.pickled(shared)


def loaded_from_copy(memory: Any, sizes: list[int], writable: bool) -> Any:
    """Return the object whose parts are in memory of its own."""
    return loaded_from(Copied(memory), sizes, writable)


class Copied:
    """Memory that was received."""

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer


def dumps_across(obj: object, apart: list[memoryview] | None = None, crossing: Crossing | None = None) -> bytes:
    """Pickle for a process on any host; large buffers go into `apart`, if it is given.

    Raises what pickling raises, and ProcessError for what is of this host.
    """
    packed: Any = while_preparing(crossing or Crossing(), lambda: dumps(obj, None if apart is None else 5, apart))
    return bytes(packed)
