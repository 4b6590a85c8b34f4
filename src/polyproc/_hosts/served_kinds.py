"""What the server of a remote context keeps: the kinds of this host's processes, where the C core is there.

They are in memory that processes of this host share, and so need no server there; to the server's threads, which call
for processes elsewhere, they are what they are to any thread. Without the core they are those of `threading` and
`queue`.
"""

from __future__ import annotations

import queue
import threading

from polyproc._base.native import native
from polyproc._base.typing import Any, Callable
from polyproc._queues.any_queue import Full
from polyproc._queues.queue import JoinableQueue, Queue, SimpleQueue
from polyproc._synchronize import primitives


class CountingSemaphore(threading.Semaphore):
    """A semaphore that tells its value."""

    def get_value(self) -> int:
        """Return it."""
        return self._value


class BoundedCountingSemaphore(threading.BoundedSemaphore):
    """A bounded semaphore that tells its value."""

    def get_value(self) -> int:
        """Return it."""
        return self._value


class Cell:
    """A ctypes object in the server, and in shared memory."""

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def get(self, name: str) -> Any:
        """Return an attribute."""
        return getattr(self.obj, name)

    def set(self, name: str, value: Any) -> None:
        """Set an attribute."""
        setattr(self.obj, name, value)

    def item(self, place: int | slice) -> Any:
        """Return elements."""
        return self.obj[place]

    def set_item(self, place: int | slice, value: Any) -> None:
        """Set elements."""
        self.obj[place] = value

    def size(self) -> int:
        """Return how many elements there are."""
        return len(self.obj)


def _barrier(parties: int, action: Callable[[], object] | None, timeout: float | None) -> Any:
    """Make a barrier; one with an action is the server's, which calls it."""
    kind: Any = primitives.Barrier if action is None else threading.Barrier
    return kind(parties, action, timeout)


MAKERS: dict[str, Callable[..., Any]] = {
    "Lock": threading.Lock,
    "RLock": threading.RLock,
    "Semaphore": CountingSemaphore,
    "BoundedSemaphore": BoundedCountingSemaphore,
    "Event": threading.Event,
    "Barrier": threading.Barrier,
    "Condition": threading.Condition,
    "Queue": queue.Queue,
    "JoinableQueue": queue.Queue,
    "SimpleQueue": queue.Queue,
}
# Of those in memory: what a client holds that has acquired it; what counts; what gives items.
HELD: tuple[type[Any], ...] = ()
COUNTED: tuple[type[Any], ...] = ()
CONDITIONS: tuple[type[Any], ...] = ()
QUEUES: tuple[type[Any], ...] = ()
IN_MEMORY: tuple[type[Any], ...] = (Cell,)
if native:
    for name in ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Event", "Condition"):
        MAKERS[name] = getattr(primitives, name)
    MAKERS.update(Barrier=_barrier, Queue=Queue, JoinableQueue=JoinableQueue, SimpleQueue=SimpleQueue)
    CONDITIONS = (primitives.Condition,)
    HELD = (primitives.Lock, primitives.RLock, primitives.BoundedSemaphore, *CONDITIONS)
    COUNTED = (primitives.Semaphore,)
    QUEUES = (Queue, SimpleQueue)
    IN_MEMORY += (*HELD, *COUNTED, *QUEUES, primitives.Event, primitives.Barrier)


def put_behind(made: Any, item: Any) -> None:
    """Put an item back that nobody got: behind the others, which may have been taken by any process meanwhile."""
    try:
        made.put(item, False)
    except Full:  # somebody was faster: it is the next that is got by this server
        made._keep([item])
        return
    if isinstance(made, JoinableQueue):
        made.task_done()  # of the two that were put
