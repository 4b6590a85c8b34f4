"""What goes to another host: pickled by value alone, and refused at once if it is of this host."""

from __future__ import annotations

from polyproc._base.errors import ProcessError
from polyproc._base.typing import Any, NoReturn
from polyproc._pickling.pickler import dumps
from polyproc._pickling.spawning import while_preparing


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


def dumps_across(obj: object, apart: list[memoryview] | None = None) -> bytes:
    """Pickle for a process on any host; large buffers go into `apart`, if it is given.

    Raises what pickling raises, and ProcessError for what is of this host.
    """
    packed: Any = while_preparing(Crossing(), lambda: dumps(obj, None if apart is None else 5, apart))
    return bytes(packed)
