"""The client that a thread of a manager's server serves, and conditions whose waits end when it has gone."""

from __future__ import annotations

import queue
import select
import threading
import time

from polyproc._platform.greenlets import Local
from polyproc._platform.handles import new_poll
from polyproc._typing import Any, Callable

_SLICE = 0.25  # seconds between two looks at a client that waits
_FOREVER = float("inf")
_GONE = select.POLLHUP | getattr(select, "POLLRDHUP", 0)


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
        # Once the connection has ended and its thread stays, as locks are that thread's: what others have it release.
        self.is_parked = False
        self.orders: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._poll = new_poll()
        self._poll.register(connection.fileno(), _GONE | select.POLLIN)
        self._has_ended = False

    def is_gone(self) -> bool:
        """Return whether the connection has ended."""
        return self._has_ended or bool((seen := self._poll.poll(0)) and seen[0][1] & _GONE)

    def has_called_off(self) -> bool:
        """Return whether more comes over the connection while an answer is owed."""
        return not self._has_ended and bool((seen := self._poll.poll(0)) and not seen[0][1] & _GONE)

    def check(self) -> None:
        """Raise ClientGone or CalledOff if nobody waits for the answer."""
        if self._has_ended or (seen := self._poll.poll(0)):
            raise ClientGone if self._has_ended or seen[0][1] & _GONE else CalledOff

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
