"""Coroutine methods of locks, semaphores, conditions, events and barriers.

What cannot be had at once is waited for in a thread, by turns of a fraction of a second, so that a cancelled task
soon waits no more. An RLock, and the lock of a condition, belong to a thread: each task that holds one has an
OwnerThread for as long, in which all that it does with it happens. So two tasks exclude each other as two threads do.
"""

from __future__ import annotations

import threading
import time
import weakref

from polyproc._aio.loops import AioView, OwnerThread, Ticks, current_task, in_thread
from polyproc._base.typing import Any, Callable
from polyproc._platform.handles import due

_TURN = 0.05  # seconds after which a thread looks whether its task still waits


class _Attempt:
    """Acquire something in a thread; undo it there if the task was cancelled meanwhile."""

    def __init__(self, attempt: Callable[[float], bool], undo: Callable[[], object], timeout: float | None) -> None:
        self._attempt = attempt
        self._undo = undo
        self._ticks = Ticks(timeout)
        self._lock = threading.Lock()
        self.is_given_up = self._is_had = False

    def __call__(self) -> bool:
        """Wait, in turns; return whether it was had in time."""
        while not self.is_given_up:
            left = self._ticks.left()
            if self._attempt(_TURN if left is None else min(left, _TURN)):
                with self._lock:
                    self._is_had = not self.is_given_up
                if not self._is_had:
                    self._undo()
                return self._is_had
            if self._ticks.is_over():
                return False
        return False

    def give_up(self) -> bool:
        """Want it no more; return whether it was had already, and is to be given back by the caller."""
        with self._lock:
            self.is_given_up = True
            return self._is_had


class _Acquirer(AioView):
    """A lock of coroutines: it is acquired, or held by `async with`."""

    async def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire; each does it its own way."""
        raise NotImplementedError

    async def release(self) -> None:
        """Release what was acquired."""
        self._of.release()

    async def __aenter__(self) -> bool:
        await self.acquire()
        return True

    async def __aexit__(self, *error: object) -> None:
        await self.release()


class AsyncLock(_Acquirer):
    """A Lock as a task has it. A task that is cancelled in `acquire` holds nothing."""

    async def locked(self) -> bool:
        """Return whether a task, thread or process holds the lock at this moment."""
        locked: bool = self._of.locked()
        return locked

    async def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it, waiting up to `timeout` seconds; return whether it was taken."""
        lock = self._of
        if lock.acquire(False):
            return True
        if not block or (timeout is not None and timeout <= 0):
            return False
        attempt = _Attempt(lambda seconds: lock.acquire(True, seconds), lock.release, timeout)
        taken: bool = await in_thread(attempt, lambda: attempt.give_up() and lock.release())
        return taken


class AsyncSemaphore(AsyncLock):
    """A semaphore as a task has it. A task that is cancelled in `acquire` has taken nothing."""

    async def get_value(self) -> int:
        """Return the counter as it is at this moment."""
        value: int = self._of.get_value()
        return value


class OwnerThreads:
    """The owner threads of all tasks, for as long as these live. One instance, `owners`."""

    def __init__(self) -> None:
        self._of_task: weakref.WeakKeyDictionary[Any, dict[Any, OwnerThread]] = weakref.WeakKeyDictionary()

    def find(self, lock: Any) -> OwnerThread | None:
        """Return the thread in which the current task holds a lock, if it does."""
        return self._of_task.get(current_task(), {}).get(_place(lock))

    def keep(self, lock: Any, owner: OwnerThread) -> None:
        """Remember the thread in which the current task holds a lock."""
        self._of_task.setdefault(current_task(), {})[_place(lock)] = owner

    def drop(self, lock: Any) -> None:
        """Forget the current task's thread for a lock, and end it."""
        self._of_task[current_task()].pop(_place(lock)).end()


def _place(lock: Any) -> Any:
    where = getattr(lock, "_where", None)
    return id(lock) if where is None else where()  # all handles to a lock of the core are one lock


owners = OwnerThreads()


class _OwnedByTask(_Acquirer):
    """A lock that belongs to the task that has acquired it, which may acquire it again and must release it as often.

    `asyncio.wait_for` of Python 3.11 makes a task of its own for what it awaits; `asyncio.timeout` does not.
    """

    @property
    def _lock(self) -> Any:
        return self._of

    async def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it, waiting up to `timeout` seconds; return whether it was taken."""
        lock, owner = self._lock, owners.find(self._lock)
        is_new = owner is None
        owner = owner or OwnerThread()
        attempt = _Attempt(lambda seconds: lock.acquire(True, seconds), lock.release, timeout if block else 0.0)
        taken: bool = False
        try:
            taken = await owner.do(attempt).wait()
        except BaseException:
            if attempt.give_up():
                owner.tell(lock.release)
            raise
        finally:
            if not taken and is_new:
                owner.end()
        if taken:
            owner.depth += 1
            if is_new:
                owners.keep(lock, owner)
        return taken

    async def release(self) -> None:
        """Give it back. Raises AssertionError if this task does not hold it."""
        lock, owner = self._lock, owners.find(self._lock)
        if owner is None:
            lock.release()  # which raises
            return
        try:
            await owner.do(lock.release).wait(in_any_case=True)
        finally:
            owner.depth -= 1
            if not owner.depth:
                owners.drop(lock)


class AsyncRLock(_OwnedByTask):
    """An RLock: the task that has acquired it may acquire it again, and must release it as often."""

    async def locked(self) -> bool:
        """Return whether a task, thread or process holds the lock at this moment."""
        locked: bool = self._of.locked()
        return locked


class AsyncCondition(_OwnedByTask):
    """A condition. Its lock belongs to the task that has acquired it."""

    @property
    def _lock(self) -> Any:
        return self._of._lock

    async def _in_owner(self, function: Callable[[], Any]) -> Any:
        owner = owners.find(self._lock)
        return function() if owner is None else await owner.do(function).wait(in_any_case=True)

    async def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait to be notified, up to `timeout` seconds, and take the lock again.

        Returns False if the time ran out. A task that is cancelled has the lock again, too. Raises AssertionError
        without the lock.
        """
        condition, owner = self._of, owners.find(self._lock)
        if owner is None:
            condition.wait(0)  # which raises
            return False
        attempt = _Attempt(condition.wait, lambda: None, timeout)
        result = owner.do(attempt)
        try:
            notified: bool = await result.wait()
        except BaseException:
            attempt.give_up()
            await result.wait(in_any_case=True)
            raise
        return notified

    async def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until a predicate is true, up to `timeout` seconds; return what it returned last."""
        until = None if timeout is None else due(timeout)
        while not (result := predicate()):
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                break
            await self.wait(left)
        return result

    async def notify(self, n: int = 1) -> None:
        """Wake up to `n` waiters, tasks or others. AssertionError without the lock."""
        await self._in_owner(lambda: self._of.notify(n))

    async def notify_all(self) -> None:
        """Wake all waiters."""
        await self._in_owner(self._of.notify_all)


class AsyncEvent(AioView):
    """An event."""

    async def is_set(self) -> bool:
        """Return whether the flag is set."""
        found: bool = self._of.is_set()
        return found

    async def set(self) -> None:
        """Set the flag and wake all waiters, tasks or others."""
        self._of.set()

    async def clear(self) -> None:
        """Clear the flag."""
        self._of.clear()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, up to `timeout` seconds; return whether it was."""
        event = self._of
        if event.is_set():
            return True
        attempt = _Attempt(event.wait, lambda: None, timeout)
        found: bool = await in_thread(attempt, attempt.give_up)
        return found


class AsyncBarrier(AioView):
    """A barrier. A task that is cancelled at it breaks it, as one that waits too long does."""

    async def wait(self, timeout: float | None = None) -> int:
        """Wait until all have come, up to `timeout` seconds. Returns and raises what the barrier's `wait` does."""
        found: int = await in_thread(*self._of._visit_or_not(timeout))
        return found

    async def reset(self) -> None:
        """Make the barrier as it was at first. Tasks and others that wait get BrokenBarrierError."""
        self._of.reset()

    async def abort(self) -> None:
        """Break the barrier: all that wait, now or later, get BrokenBarrierError, until it is reset."""
        self._of.abort()
