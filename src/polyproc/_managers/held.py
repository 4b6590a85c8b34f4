"""Waiting on behalf of a client, in a manager's server: not longer than the client lives, and what it holds is let go.

A method that may block is called in slices; between them the client's connection is looked at. What a client has locked
when it ends is unlocked; an item that a client asked for and does not live to get goes back to the head of its queue.
"""

from __future__ import annotations

import queue
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_SLICE = 0.25  # seconds between two looks at a client that waits
_FOREVER = float("inf")
# What is unlocked when its holder dies; and what can be acquired at all. A plain semaphore may be used for messages.
_HELD = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.BoundedSemaphore)
ACQUIRED = (*_HELD, threading.Semaphore)
_GONE = select.POLLHUP | getattr(select, "POLLRDHUP", 0)


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


@dataclass
class Held:
    """A lock that a client holds, so many times; the object is kept, so that its id is no other's."""

    lock: Any
    count: int = 0


class Client:
    """A client's connection, as the thread that serves it sees it: who it is, whether it is there, what it holds."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._poll = select.poll()
        self._poll.register(connection.fileno(), _GONE)
        self.held: dict[int, Held] = {}

    def is_gone(self) -> bool:
        """Say whether it has ended."""
        return bool(self._poll.poll(0))

    def wait(self, attempt: Callable[[float], Any], timeout: float | None) -> Any:
        """Call `attempt(seconds)` until it returns something true, or the time is over. Raises ClientGone."""
        end = _FOREVER if timeout is None else time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            found = attempt(max(min(left, _SLICE), 0.0))
            if found or left <= _SLICE:
                return found
            if self.is_gone():
                raise ClientGone


class Holdings:
    """Who holds which lock. One for each server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[int, Client] = {}

    def acquire(self, client: Client, obj: Any, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquire for a client."""
        if not blocking or (timeout is not None and timeout == 0):
            got = bool(obj.acquire(False))
        else:
            limit = None if timeout is None or timeout < 0 else timeout
            got = bool(client.wait(lambda seconds: obj.acquire(True, seconds), limit))
        if got and isinstance(obj, _HELD):
            with self._lock:
                client.held.setdefault(id(obj), Held(obj)).count += 1
                self._holders[id(obj)] = client
        return got

    def release(self, client: Client, obj: Any, *args: Any) -> Any:
        """Release; who acquired it holds it no more."""
        result = obj.release(*args)
        with self._lock:
            holder = client if id(obj) in client.held else self._holders.get(id(obj))
            held = None if holder is None else holder.held.get(id(obj))
            if holder is not None and held is not None:
                held.count -= 1
                if not held.count:
                    self._forget(holder, id(obj))
        return result

    def _forget(self, client: Client, key: int) -> None:
        del client.held[key]
        if self._holders.get(key) is client:
            del self._holders[key]

    def let_go(self, client: Client) -> None:
        """Release what a client that has ended still holds, in the thread that acquired it."""
        with self._lock:
            lost = list(client.held.values())
            for key in list(client.held):
                self._forget(client, key)
        for held in lost:
            for _ in range(held.count):
                try:
                    held.lock.release()
                except (RuntimeError, ValueError):  # it was released otherwise
                    break


def get(client: Client, obj: queue.Queue[Any], block: bool = True, timeout: float | None = None) -> Any:
    """Take an item from a queue for a client.

    Whether the client is there is looked at under the queue's lock, before it is taken: an item that came back later
    would come out of its turn.
    """
    if not block:
        return obj.get(False)
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    found: list[Any] = []

    def attempt(seconds: float) -> bool:
        end = time.monotonic() + seconds
        with obj.not_empty:
            while not obj._qsize() and not getattr(obj, "is_shutdown", False):  # from Python 3.13 on
                left = end - time.monotonic()
                if left <= 0:
                    return False
                obj.not_empty.wait(left)
            if obj._qsize():
                if client.is_gone():
                    obj.not_empty.notify()  # whoever else waits: we were told of it in his place
                    raise ClientGone
                found.append(obj._get())
                obj.not_full.notify()
                return True
        obj.get(False)  # raises that it was shut down
        return False

    if not client.wait(attempt, timeout):
        raise queue.Empty
    return found[0]


def put_back(obj: queue.Queue[Any], item: Any) -> None:
    """Put an item back that nobody got, at the head."""
    with obj.mutex:
        obj.queue.appendleft(item)
        obj.not_empty.notify()
