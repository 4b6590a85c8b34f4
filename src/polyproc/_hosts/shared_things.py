"""share() across hosts: a thing is sent once to each node, where it stays in memory for all processes there.

    driver                        agent                          child
                                                           <-    name, by the door, with a socket for the answer
                            <-    want name
    keep name, size         ->
    part name + bytes       ->    (into one block)
                                  the block's descriptor   ->    (maps it)
    drop name               ->

The driver has the thing as long as somebody has its handle, or a call or a process that was given it goes on; then it
has the nodes drop it. Whoever has mapped it there keeps it. It is in memory without a name: with the agent and its
children it is gone.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import weakref

from polyproc._base.errors import ProcessError
from polyproc._base.typing import TYPE_CHECKING, Any, Callable
from polyproc._hosts.remote_life import remote_life
from polyproc._memory.block import FileBlock
from polyproc._memory.share import Shared, loaded_from
from polyproc._pickling import sending
from polyproc._platform.posix import close_quietly

if TYPE_CHECKING:
    from polyproc._hosts.wire import Wire

_LONGEST_NAME = 64
_YES, _NO = b"y", b"n"


class SharedThings:
    """What a context's process shares with its nodes. `told` is called with the name of what is there no more."""

    def __init__(self, told: Callable[[str], object]) -> None:
        self._told = told
        self._lock = threading.RLock()  # a finalizer may come in the middle of a call
        self._numbers = itertools.count(1)
        self._names: weakref.WeakKeyDictionary[Shared[Any], str] = weakref.WeakKeyDictionary()
        self._things: dict[str, weakref.ref[Shared[Any]]] = {}

    def pickled(self, shared: Shared[Any]) -> tuple[Any, ...]:
        """Return what is pickled for a thing. It lives as long as who keeps the pickle keeps what is in it."""
        parcel = sending.parcel()
        if parcel is not None:
            parcel.append(shared)
        with self._lock:
            name = self._names.get(shared)
            if name is None:
                name = self._names[shared] = str(next(self._numbers))
                self._things[name] = weakref.ref(shared)
                end = weakref.finalize(shared, self._drop, name)
                end.atexit = False
                shared.call_at_close(end)
        return take_shared, (name, *shared.layout())

    def _drop(self, name: str) -> None:
        with self._lock:
            self._things.pop(name, None)
        self._told(name)

    def bytes_of(self, name: str) -> memoryview | None:
        """Return the memory of a thing; None if it is there no more."""
        with self._lock:
            found = self._things.get(name)
        shared = None if found is None else found()
        return None if shared is None else shared.memory()


class KeptThings:
    """What an agent keeps for its children, who ask for it by its door."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._blocks: dict[str, FileBlock] = {}
        self._waiting: dict[str, list[socket.socket]] = {}
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        self.fd = self._ours.fileno()

    def serve(self) -> None:
        """Take a child's question."""
        try:
            data, fds, _, _ = socket.recv_fds(self._ours, _LONGEST_NAME, 1)
        except BlockingIOError:
            return
        for fd in fds:
            name, answer = data.decode(errors="replace"), socket.socket(fileno=fd)
            answer.setblocking(False)
            if name in self._blocks:
                _answer(answer, self._blocks[name])
            else:
                self._waiting.setdefault(name, []).append(answer)
                if len(self._waiting[name]) == 1:
                    self._wire.send("want", name)

    def note(self, name: str, block: FileBlock | None) -> None:
        """Keep what has come, or note that it cannot be had; wake the threads that wait for it."""
        if block is not None:
            self._blocks[name] = block
        for answer in self._waiting.pop(name, ()):
            _answer(answer, block)

    def drop(self, name: str) -> None:
        """Keep it no more."""
        self._blocks.pop(name, None)
        self.note(name, None)


def _answer(answer: socket.socket, block: FileBlock | None) -> None:
    with answer:
        try:
            if block is None:
                answer.send(_NO)
            else:
                socket.send_fds(answer, [_YES], [block.fd])
        except OSError:  # who asked is dead
            pass


def take_shared(name: str, sizes: list[int], size: int, writable: bool) -> Any:
    """Return a thing that was shared with the nodes. Raises ProcessError if it is there no more."""
    if remote_life.door is None:
        raise ProcessError("only processes that a remote context has started can use what share() made for hosts")
    ours, theirs = socket.socketpair()
    with ours, socket.socket(fileno=os.dup(remote_life.door)) as door:
        with theirs:
            socket.send_fds(door, [name.encode()], [theirs.fileno()])
        said, fds, _, _ = socket.recv_fds(ours, 1, 1)
    if said != _YES or len(fds) != 1:
        close_quietly(*fds)
        raise ProcessError(
            "a shared object is gone, or this host has no memory for it: keep what share() has returned, and do not "
            "close it, while calls that were given it run"
        )
    return loaded_from(FileBlock(size, fds[0]), sizes, writable)
