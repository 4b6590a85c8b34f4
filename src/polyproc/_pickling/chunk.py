"""Chunks: the anonymous memory in which shared objects of the C core live, on their way to another process.

A handle to a shared object is pickled as (chunk, offset). A chunk is pickled once for all its objects, and how depends
on the reader:

    a child that is being started      the descriptors go along with its job
    any other process, through a       it opens the descriptors of its sender: see _pickling/sending.py
    connection, a queue or a task

A process that has the chunk already takes it by its id. A chunk that was sent to a process that runs stays mapped here
until it has arrived there, or cannot any more: see _pickling/in_transit.py.
"""

from __future__ import annotations

import os
import weakref

import polyproc._core as core
from polyproc._base.typing import Any, Callable
from polyproc._pickling import sending
from polyproc._pickling.sending import DupFd, LiveFd, live_fd
from polyproc._platform.posix import close_quietly


class Registry:
    """The registry of a family's processes, by its descriptor in this process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (DupFd(self.fd),)


class ArrivedRegistry:
    """A registry's descriptor in the child that inherits it: open until all chunks that came with it are mapped."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.fd)


def _arrive(sent: Any) -> ArrivedRegistry:
    return ArrivedRegistry(sent.detach())


class Chunk:
    """One chunk that this process has mapped; it stays mapped as long as this object lives."""

    def __init__(self, id: bytes) -> None:
        core.hold(id)
        self.id = id

    def __del__(self, detach: Callable[[bytes], None] = core.detach) -> None:  # modules may be gone by then
        if hasattr(self, "id"):
            detach(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        fd, registry_fd = descriptors(self.id)
        if sending.current() is not None:
            return _inherit, (self.id, DupFd(fd), chunks.registry(registry_fd))
        return _fetch, (self.id, live_fd(fd, owner=self), live_fd(registry_fd))


def descriptors(id: bytes) -> tuple[int, int]:
    """Return the descriptors of a chunk and its registry, as they are now: a program may have closed them.

    Raises:
        OSError: it has, and they cannot be had again (EBADF).
    """
    try:
        fds = core.hold(id)
    except OSError as error:
        error.add_note("this process has closed the descriptor of a shared object, which so cannot be sent any more")
        raise
    core.detach(id)
    return fds


class Chunks:
    """The chunks of this process that have been on their way somewhere. One instance, `chunks`."""

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[bytes, Chunk] = weakref.WeakValueDictionary()
        self._registries: dict[int, Registry] = {}

    def registry(self, fd: int) -> Registry:
        """Return the one object of a registry."""
        return self._registries.setdefault(fd, Registry(fd))

    def find(self, id: bytes) -> Chunk:
        """Return the chunk with an id. Raises KeyError if this process does not have it."""
        chunk = self._known.get(id)
        if chunk is None:
            chunk = self._known[id] = Chunk(id)
        return chunk

    def attach(self, id: bytes, fd: int, registry_fd: int) -> Chunk:
        """Map a chunk by descriptors, which stay the caller's. Raises ValueError if it is not the one of that id."""
        found = core.attach(fd, registry_fd)
        try:
            if found != id:
                raise ValueError("the memory of a shared object was not found where its sender had it")
            return self.find(id)
        finally:
            core.detach(found)


chunks = Chunks()


def _inherit(id: bytes, sent: Any, registry: ArrivedRegistry) -> Chunk:
    fd = sent.detach()
    try:
        return chunks.attach(id, fd, registry.fd)
    finally:
        os.close(fd)


def _fetch(id: bytes, sent: LiveFd, sent_registry: LiveFd) -> Chunk:
    try:
        found = chunks.find(id)
    except KeyError:
        pass
    else:
        sent.arrived()
        return found
    fetched: list[int] = []
    try:
        for one in (sent, sent_registry):
            fetched.append(one.detach())
        return chunks.attach(id, *fetched)
    except ValueError as error:
        raise RuntimeError(f"a shared object cannot be received: it is not what process {sent.pid} sent") from error
    finally:
        close_quietly(*fetched)


def registry_to_send(fd: int) -> Any:
    """Return what to pickle for a registry, for an object that has a chunk of its own and sends it itself."""
    return live_fd(fd) if sending.current() is None else chunks.registry(fd)


def attach_with(fd: int, sent_registry: Any) -> bytes:
    """Map such a chunk, which is then the caller's to detach; return its id."""
    if isinstance(sent_registry, ArrivedRegistry):
        return core.attach(fd, sent_registry.fd)
    registry_fd = sent_registry.detach()
    try:
        return core.attach(fd, registry_fd)
    finally:
        os.close(registry_fd)


def where(handle: Any) -> tuple[Chunk, int]:
    """Return what to pickle for a handle: its chunk and its place there."""
    id, offset = handle._where()
    return chunks.find(id), offset


class CoreBlock(core.Memory):
    """Shared bytes, as a buffer, in a chunk (_memory/block.py)."""

    @property
    def buffer(self) -> Any:
        """The buffer, for ctypes and memoryview."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _adopt_block, where(self)


def _adopt_block(chunk: Chunk, offset: int) -> CoreBlock:
    return CoreBlock._adopt(chunk.id, offset, "B", None)
