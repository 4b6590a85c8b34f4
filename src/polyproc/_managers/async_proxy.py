"""A proxy's methods as coroutines, for asyncio and trio: `await proxy.aio.get()`.

A call runs in a thread of its own, over a connection that belongs to the task that awaits it: a lock that a task has
acquired is its own, as it is a thread's otherwise. Who cancels the wait ends the connection: the server sees that
nobody waits any more, and what would have been taken stays.
"""

from __future__ import annotations

import socket
import threading
import weakref
from functools import partial
from os import dup

from polyproc._aio.loops import current_task, in_thread
from polyproc._base.typing import Any, Awaitable, Callable
from polyproc._managers.links import Link


class TaskConnection:
    """A task's connection to a server; None before its first call, and after one that was interrupted."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.is_cut = False
        self._lock = threading.Lock()

    def open(self, connect: Callable[[], Any]) -> None:
        """Connect. Raises EOFError if the task needs it no more."""
        made = connect() if self.connection is None else self.connection
        with self._lock:
            if not self.is_cut:
                self.connection = made
                return
        made.close()
        raise EOFError("nobody waits for the answer")

    def cut(self) -> None:
        """End the connection under the thread that waits for its answer."""
        with self._lock:
            self.is_cut = True
        try:
            with socket.socket(fileno=dup(self.connection.fileno())) as sock:
                sock.shutdown(socket.SHUT_RDWR)
        except (AttributeError, OSError):  # there is none, or it has ended
            pass


class TaskConnections:
    """The connections of all tasks, for as long as these live. One instance, `task_connections`."""

    def __init__(self) -> None:
        self._of_task: weakref.WeakKeyDictionary[Any, dict[Link, TaskConnection]] = weakref.WeakKeyDictionary()

    def of(self, task: Any, link: Link) -> TaskConnection:
        """Return a task's connection to a server."""
        of_links = self._of_task.setdefault(task, {})
        own = of_links.get(link)
        if own is None or own.is_cut:
            own = of_links[link] = TaskConnection()
        return own


task_connections = TaskConnections()


class AsyncProxy:
    """The methods of a proxy as coroutines. Cancelling a call that waits is safe; one whose answer arrives is done."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        proxy = self._proxy
        if isinstance(getattr(type(proxy), name, None), property):
            raise AttributeError(f"{name!r} of {type(proxy).__name__} is not a method: there is no coroutine of it")
        method = getattr(proxy, name)

        def call(*args: Any, **kwds: Any) -> Awaitable[Any]:
            return _call(proxy, lambda: method(*args, **kwds))

        call.__name__ = call.__qualname__ = name
        return call

    async def __aenter__(self) -> Any:
        return await _call(self._proxy, self._proxy.__enter__)

    async def __aexit__(self, *error: Any) -> None:
        await _call(self._proxy, lambda: self._proxy.__exit__(*error))


async def _call(proxy: Any, function: Callable[[], Any]) -> Any:
    task = current_task()
    link = proxy._link
    if link is None:  # in the server itself, where there is no connection
        own, run = TaskConnection(), function
    else:
        own = task_connections.of(task, link)
        run = partial(link.over, own, function)
    return await in_thread(run, own.cut)
