"""SimpleQueue: a pipe with a lock at each end."""

from __future__ import annotations

import pickle
import queue

from polyproc._aio_attribute import HasAio
from polyproc._connection.pipe import Pipe
from polyproc._pickling.pickler import dumps_through
from polyproc._pickling.spawning import assert_spawning
from polyproc._public import Remade, public
from polyproc._synchronize.primitives import Lock
from polyproc._typing import Any, Generic, TypeVar

T = TypeVar("T")


@public("queues")
class SimpleQueue(Remade, HasAio, Generic[T]):
    """A queue without a thread: `put` blocks while the pipe is full. As in the standard library."""

    _aio_class = ("polyproc._queues.async_queue", "AsyncQueue")

    def __init__(self, *, ctx: Any = None) -> None:
        self._reader, self._writer = Pipe(duplex=False)
        self._rlock = Lock(ctx=ctx)
        self._wlock = Lock(ctx=ctx)

    def close(self) -> None:
        """Close both ends in this process."""
        self._reader.close()
        self._writer.close()

    def empty(self) -> bool:
        """Return whether nothing can be got at this moment."""
        return not self._reader.poll()

    def get(self) -> T:
        """Remove and return an item; wait for one."""
        with self._rlock:
            data = self._reader.recv_bytes()
        return pickle.loads(data)  # type: ignore[no-any-return]

    def get_nowait(self) -> T:
        """Remove and return an item or raise queue.Empty."""
        if not self._rlock.acquire(False):
            raise queue.Empty
        try:
            if not self._reader.poll():
                raise queue.Empty
            data = self._reader.recv_bytes()
        finally:
            self._rlock.release()
        return pickle.loads(data)  # type: ignore[no-any-return]

    def put(self, obj: T) -> None:
        """Add an item."""
        data = dumps_through(obj, self._writer.fileno)
        with self._wlock:
            self._writer.send_bytes(data)

    def __getstate__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        return (self._reader, self._writer, self._rlock, self._wlock)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._reader, self._writer, self._rlock, self._wlock = state
