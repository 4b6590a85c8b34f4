"""A proxy's methods as coroutines, for asyncio and trio: `await proxy.aio.get()`.

A call runs in a thread of its own, over a connection that belongs to the task that awaits it: a lock that a task has
acquired is its own, as it is a thread's otherwise. A task that is cancelled ends the connection: the server sees that
nobody waits any more, and what would have been taken stays.
"""

from __future__ import annotations

import socket
import threading
import weakref
from functools import partial
from os import dup

from polyproc._aio.loops import current_task, in_thread
from polyproc._base.typing import Any, Awaitable, Callable, Generic, TypeVar
from polyproc._managers.links import Link, links, servers_here

T = TypeVar("T")


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
    """The methods of a proxy as coroutines. Cancelling a call that waits is safe; one whose answer arrives is done.

    The server says which methods there are: a type checker takes any name. Proxies of known types have classes below.
    """

    def __init__(self, proxy: Any) -> None:
        self._proxy = by_link(proxy)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        proxy = self._proxy
        if isinstance(getattr(type(proxy), name, None), property):
            raise AttributeError(f"{name!r} of {type(proxy).__name__} is not a method: there is no coroutine of it")
        method = getattr(proxy, name)

        def called(*args: Any, **kwds: Any) -> Awaitable[Any]:
            return call(proxy, lambda: method(*args, **kwds))

        called.__name__ = called.__qualname__ = name
        return called

    async def __aenter__(self) -> Any:
        return await call(self._proxy, self._proxy.__enter__)

    async def __aexit__(self, *error: Any) -> None:
        await call(self._proxy, lambda: self._proxy.__exit__(*error))


class AsyncAcquirerProxy(AsyncProxy):
    """The coroutines of a lock or a semaphore."""

    async def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquire; wait for it up to `timeout` seconds, None without limit. Return whether it was got."""
        got: bool = await call(self._proxy, lambda: self._proxy.acquire(blocking, timeout))
        return got

    async def release(self) -> None:
        """Release."""
        await call(self._proxy, self._proxy.release)

    async def locked(self) -> bool:
        """Return whether somebody holds it."""
        found: bool = await call(self._proxy, self._proxy.locked)
        return found


class AsyncConditionProxy(AsyncAcquirerProxy):
    """The coroutines of a condition."""

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait to be notified, up to `timeout` seconds; return whether that happened."""
        notified: bool = await call(self._proxy, lambda: self._proxy.wait(timeout))
        return notified

    async def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until the predicate is true, up to `timeout` seconds; return its last value. It runs in a thread."""
        result: T = await call(self._proxy, lambda: self._proxy.wait_for(predicate, timeout))
        return result

    async def notify(self, n: int = 1) -> None:
        """Wake up to `n` waiters."""
        await call(self._proxy, lambda: self._proxy.notify(n))

    async def notify_all(self) -> None:
        """Wake all waiters."""
        await call(self._proxy, self._proxy.notify_all)


class AsyncEventProxy(AsyncProxy):
    """The coroutines of an event."""

    async def is_set(self) -> bool:
        """Return whether the flag is set."""
        found: bool = await call(self._proxy, self._proxy.is_set)
        return found

    async def set(self) -> None:
        """Set the flag and wake all waiters."""
        await call(self._proxy, self._proxy.set)

    async def clear(self) -> None:
        """Clear the flag."""
        await call(self._proxy, self._proxy.clear)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, up to `timeout` seconds; return whether it is."""
        found: bool = await call(self._proxy, lambda: self._proxy.wait(timeout))
        return found


class AsyncBarrierProxy(AsyncProxy):
    """The coroutines of a barrier."""

    async def wait(self, timeout: float | None = None) -> int:
        """Wait for the others, up to `timeout` seconds; return our number. Raises BrokenBarrierError."""
        number: int = await call(self._proxy, lambda: self._proxy.wait(timeout))
        return number

    async def abort(self) -> None:
        """Break the barrier."""
        await call(self._proxy, self._proxy.abort)

    async def reset(self) -> None:
        """Make the barrier whole; what waits gets BrokenBarrierError."""
        await call(self._proxy, self._proxy.reset)


class AsyncValueProxy(AsyncProxy, Generic[T]):
    """The coroutines of a value."""

    async def get(self) -> T:
        """Return the value."""
        value: T = await call(self._proxy, self._proxy.get)
        return value

    async def set(self, value: T) -> None:
        """Set the value."""
        await call(self._proxy, lambda: self._proxy.set(value))


def by_link(proxy: Any) -> Any:
    """Return a proxy whose calls can be called off: in the process that has the server, too, by a connection to it."""
    if proxy._owner is None or servers_here.get(proxy._token.address) is not proxy._owner:
        return proxy
    found = object.__new__(type(proxy))
    link = links.to(proxy._token.address, proxy._serializer, proxy._authkey)
    link.serves_itself = True
    found.__dict__.update(proxy.__dict__, _owner=None, _link=link, _is_counted=False, _counted=proxy)
    return found


async def call(proxy: Any, function: Callable[[], Any]) -> Any:
    """Call a function whose requests are a proxy's, in a thread; to cancel it ends their connection."""
    task = current_task()
    link = proxy._link
    if link is None:  # in the server itself, where there is no connection
        own, run = TaskConnection(), function
    else:
        own = task_connections.of(task, link)
        run = partial(link.over, own, function)
    return await in_thread(run, own.cut)
