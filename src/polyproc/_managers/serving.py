"""The client that a thread of a manager's server serves, and conditions whose waits end when it has gone."""

from __future__ import annotations

import _queue
import collections
import os
import queue
import threading
import time

from polyproc._base.native import native
from polyproc._base.typing import Any, Callable
from polyproc._connection.connection import Connection
from polyproc._platform.handles import GONE, POLLIN, Local, new_poll

# What clients hold in a manager's server: which client has locked what, so that it is released when that one ends.
#
# What a client has locked when it dies is unlocked; an item that a client asked for and does not live to get goes back
# to the head of its queue.


# Seconds that a release waits for a lock's new holder to be booked; for a thread to see that its client has gone.
_BOOKING, _PARKING = 0.1, 2.0


class Holdings:
    """The locks that clients hold, by client. One for each server.

    An operation on a lock and its booking are one step: both are done under the mutex. Only a client that waits for a
    lock gets it outside, and is booked in a moment: a release of an unbooked lock waits for that.
    """

    def __init__(self) -> None:
        # What is unlocked when its holder dies; and what can be acquired at all. A plain semaphore may be used for
        # messages. Looked up when the server begins: a library that replaces them has done so by then.
        self._locks = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
        self._held = (*self._locks, threading.BoundedSemaphore)
        self.acquired = (*self._held, threading.Semaphore)
        self.alone = self._held  # taken through this server alone
        self._changed = threading.Condition()  # recursive: a condition's lock may be a proxy of another lock here
        self._holders: dict[int, Client] = {}
        self._waiting: collections.Counter[int] = collections.Counter()
        self._suspended: collections.Counter[tuple[int, str]] = collections.Counter()

    def hold_also(self, held: tuple[type[Any], ...], counted: tuple[type[Any], ...]) -> None:
        """Treat these kinds as locks, and as semaphores; other processes use them, too, and this server is not asked.

        What waits for them has to see by itself that its client has gone.
        """
        self._held += held
        self.acquired += (*held, *counted)

    def acquire(self, client: Client, obj: Any, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquire for a client."""
        args = (blocking,) if timeout is None else (blocking, timeout)
        if not isinstance(obj, self._held):
            return bool(obj.acquire(*args))
        with self._changed:
            if not blocking or (timeout is not None and timeout <= 0 and timeout != -1):
                return self._booked(client, obj, obj.acquire(*args))
            if self._booked(client, obj, obj.acquire(False)):
                return True
            self._waiting[id(obj)] += 1
        got = False
        try:
            if isinstance(obj, self._locks):
                limit = None if timeout == -1 else timeout
                got = client.wait(lambda seconds: obj.acquire(True, seconds), limit)
            else:
                got = obj.acquire(*args)  # its condition is watched
        finally:
            with self._changed:
                _count_down(self._waiting, id(obj))
                self._booked(client, obj, got)
                self._changed.notify_all()
        return got

    def _booked(self, client: Client, obj: Any, got: Any) -> bool:
        if got:
            client.held.setdefault(id(obj), HeldLock(obj)).count += 1
            self._holders[id(obj)] = client
        return bool(got)

    def release(self, client: Client, obj: Any, *args: Any, **kwds: Any) -> Any:
        """Release; its holder holds it no more."""
        if not isinstance(obj, self._held):
            return obj.release(*args, **kwds)
        key = id(obj)
        with self._changed:
            holder = client if key in client.held else self._other_holder(client, key)
            if holder is not None and holder.is_parked and holder.name == client.name:
                result = _released_by(holder, obj)
            else:
                result = obj.release(*args, **kwds)
            self._unbook(holder, key, args[0] if args else kwds.get("n", 1))
        return result

    def release_here(self, obj: Any, *args: Any, **kwds: Any) -> Any:
        """Release for this process itself; which client had acquired it holds it no more."""
        with self._changed:
            result = obj.release(*args, **kwds)
            self._unbook(self._holders.get(id(obj)), id(obj), 1)
        return result

    def _other_holder(self, client: Client, key: int) -> Client | None:
        """Return the holder of a lock that a client does not hold; one of its process that has gone parks first."""

        def is_clear() -> bool:
            holder = self._holders.get(key)
            if holder is None:
                return not self._suspended[key, client.name]
            return holder.name != client.name or holder.is_parked or not holder.is_gone()

        if self._waiting[key] and key not in self._holders:
            self._changed.wait_for(lambda: key in self._holders, _BOOKING)
        self._changed.wait_for(is_clear, _PARKING)
        return self._holders.get(key)

    def _unbook(self, holder: Client | None, key: int, count: int) -> None:
        held = None if holder is None else holder.held.get(key)
        if holder is not None and held is not None:
            held.count -= count
            if held.count <= 0:
                self._forget(holder, key)

    def _forget(self, client: Client, key: int) -> HeldLock | None:
        if self._holders.get(key) is client:
            del self._holders[key]
        return client.held.pop(key, None)

    def suspend(self, client: Client, obj: Any) -> HeldLock | None:
        """Note that a client lets a condition's lock go while it waits; return what it held."""
        if id(obj) not in client.held:  # a part of something: it is not booked
            return None
        with self._changed:
            self._suspended[id(obj), client.name] += 1
            return self._forget(client, id(obj))

    def resume(self, client: Client, obj: Any, held: HeldLock | None, has_it: bool = True) -> None:
        """Note that it waits no more, and has the lock again."""
        if held is not None:
            with self._changed:
                _count_down(self._suspended, (id(obj), client.name))
                if has_it:
                    client.held[id(obj)] = held
                    self._holders[id(obj)] = client
                self._changed.notify_all()

    def park(self, client: Client) -> None:
        """Note that a client has gone whose thread stays."""
        with self._changed:
            client.is_parked = True
            self._changed.notify_all()

    def let_go(self, client: Client) -> None:
        """Release what a client that has ended still holds, in the thread that acquired it."""
        with self._changed:
            client.is_parked = False
            for key, held in list(client.held.items()):
                is_its = self._is_still_held(client, key, held.lock)
                self._forget(client, key)
                for _ in range(held.count if is_its else 0):
                    try:
                        held.lock.release()
                    except (RuntimeError, ValueError, AssertionError):  # it was released otherwise
                        break
            self._changed.notify_all()

    def _is_still_held(self, client: Client, key: int, lock: Any) -> bool:
        """Return whether a client holds what it is booked for: other processes may have released it, and taken it."""
        if isinstance(lock, self.alone):
            return True
        lock = getattr(lock, "_lock", lock)  # of a condition
        if not hasattr(lock, "owner"):  # a semaphore: nobody's token is another than somebody else's
            return True
        return lock.owner == os.getpid() and self._holders.get(key) is client


def _count_down(counter: collections.Counter[Any], key: Any) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _released_by(holder: Client, obj: Any) -> Any:
    """Release a lock in the thread that it belongs to, whose client has gone."""
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def release() -> None:
        try:
            obj.release()
        except Exception as error:  # noqa: BLE001  (it is raised where it was asked for)
            done.put(error)
        else:
            done.put(None)

    holder.orders.put(release)
    try:
        error = done.get(timeout=_PARKING)
    except queue.Empty:
        raise RuntimeError("cannot release un-acquired lock") from None
    if error is not None:
        raise error


TAKING = ("get", "get_nowait")  # methods by which items are taken from queues, of whatever kind


def gives_items(obj: Any, method: str) -> bool:
    """Return whether what a method returns was taken from a queue, and is lost if nobody gets it."""
    if method not in TAKING:
        return False
    return getattr(type(obj), method, None) in [getattr(kind, method) for kind in (queue.Queue, queue.SimpleQueue)]


def get(client: Client, obj: Any, block: bool = True, timeout: float | None = None) -> Any:
    """Take an item from a SimpleQueue for a client, not after that has gone."""
    if not block:
        return obj.get(False)
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    found: list[Any] = []

    def attempt(seconds: float) -> bool:
        try:
            found.append(obj.get(True, seconds))
        except _queue.Empty:
            return False
        return True

    if not client.wait(attempt, timeout):
        raise _queue.Empty
    return found[0]


def put_back(obj: Any, item: Any) -> None:
    """Put an item back that nobody got: at the head, where a queue has one."""
    if not hasattr(obj, "mutex"):  # as queue.Queue has, and not what may be in its place
        obj.put(item)
        return
    with obj.mutex:
        if isinstance(obj.queue, collections.deque):
            obj.queue.appendleft(item)
        else:  # one that sorts, or takes the last first
            obj._put(item)
        obj.not_empty.notify()


_SLICE = 0.25  # seconds between two looks at a client that waits
_FOREVER = float("inf")


class ClientGone(BaseException):
    """Nobody waits for the answer any more: the client has ended. No method that is called should catch it."""


class CalledOff(BaseException):
    """Nobody waits for the answer any more: the client was interrupted, and asks for something else."""


class HeldLock:
    """A lock that a client holds, so many times; the object is kept, so that its id is no other's."""

    def __init__(self, lock: Any, count: int = 0) -> None:
        self.lock = lock
        self.count = count


class Client:
    """A client's connection, as the thread that serves it sees it: whose it is, whether it is there, what it holds."""

    def __init__(self, connection: Any, name: str = "", holdings: Any = None) -> None:
        self.connection = connection
        self.name = name  # of its process
        self.holdings = holdings
        self.held: dict[int, HeldLock] = {}
        self.is_answering = False  # what is pickled now goes to it
        is_plain = native and type(connection) is Connection  # and does not send in a way of its own
        self.send: Any = connection._send_waiting if is_plain else connection.send  # only to receive comes after it
        self.place: Any = None  # of memory that the connection is to share from the next request on
        # Once the connection has ended and its thread stays, as locks are that thread's: what others have it release.
        self.is_parked = False
        self.orders: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._poll = new_poll()
        self._poll.register(connection.fileno(), GONE | POLLIN)
        self._has_ended = False

    def is_gone(self) -> bool:
        """Return whether the connection has ended."""
        return self._has_ended or bool((seen := self._poll.poll(0)) and seen[0][1] & GONE)

    def has_called_off(self) -> bool:
        """Return whether more comes over the connection while an answer is owed."""
        return not self._has_ended and bool((seen := self._poll.poll(0)) and not seen[0][1] & GONE)

    def check(self) -> None:
        """Raise ClientGone or CalledOff if nobody waits for the answer."""
        if self._has_ended or (seen := self._poll.poll(0)):
            raise ClientGone if self._has_ended or seen[0][1] & GONE else CalledOff

    def join(self) -> None:
        """Share the memory that the client has asked for."""
        (chunk, offset), side = self.place
        self.place = None
        self.connection._join(chunk.id, offset, side)

    def end(self) -> None:
        """Note that the connection is closed here: its descriptor may become another's."""
        self._has_ended = True

    def wait(self, attempt: Callable[[float], Any], timeout: float | None) -> Any:
        """Call `attempt(seconds)` until it returns something true, or the time is over. Raises as `check`.

        An attempt that fails must miss nothing that a later one would have to find: it is for what is a state, as that
        a lock is free, and not for what happens, as that somebody is notified.
        """
        end = _FOREVER if timeout is None else time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            found = attempt(max(min(left, _SLICE), 0.0))
            if found or left <= _SLICE:
                return found
            self.check()


class Serving:
    """The client that this thread serves, if any. One instance, `serving`."""

    def __init__(self) -> None:
        self._own = Local(client=None)

    @property
    def client(self) -> Client | None:
        """The client; None in a thread that serves none."""
        return self._own().client  # type: ignore[no-any-return]

    @client.setter
    def client(self, client: Client | None) -> None:
        self._own().client = client


serving = Serving()


def join(name: str, place: tuple[Any, int], side: int) -> None:
    """Share memory with the client that asks, once it has the answer: one of a server's methods."""
    client = serving.client
    assert client is not None
    client.place = place, side


class WatchedCondition(threading.Condition):
    """A condition for threads that serve clients.

    A wait is one call: the thread stays in line, by one waiter's lock, however often its client is looked at meanwhile.
    It ends when the client has gone, or has called it off, and then hands on the notification that it may have got.
    """

    def wait(self, timeout: float | None = None) -> bool:
        """Wait to be notified, up to `timeout` seconds; return whether that happened."""
        client = serving.client
        if client is None:
            return super().wait(timeout)
        state: Any = self  # what threading.Condition keeps
        if not state._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        waiter = threading.Lock()
        waiter.acquire()
        state._waiters.append(waiter)
        count = client.holdings.suspend(client, self)
        saved = state._release_save()
        notified = False
        try:
            notified = client.wait(lambda seconds: waiter.acquire(True, seconds), timeout)
        finally:
            state._acquire_restore(saved)
            client.holdings.resume(client, self, count)
            if not notified:
                notified = self._leave_line(waiter)
            if notified:
                self._hand_on(client)
        return notified

    def _hand_on(self, client: Client) -> None:
        """Notify another, if the client does not wait any more."""
        try:
            client.check()
        except (ClientGone, CalledOff):
            self.notify()
            raise

    def _leave_line(self, waiter: Any) -> bool:
        """Wait no more; return whether a notification came at the last moment."""
        state: Any = self
        try:
            state._waiters.remove(waiter)
        except ValueError:
            return True
        return False


_WAITED_FOR = (threading.Condition, threading.Event, threading.Semaphore, threading.Barrier, queue.Queue)


def watch(obj: Any) -> None:
    """Make the conditions that an object waits for, its own and those of its parts, WatchedConditions."""
    if type(obj) is threading.Condition:
        obj.__class__ = WatchedCondition
        return
    for part in list(getattr(obj, "__dict__", {}).values()):
        if isinstance(part, _WAITED_FOR) and not isinstance(part, WatchedCondition):
            watch(part)
