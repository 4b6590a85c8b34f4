"""The bridge from threads to asyncio and trio: events set by threads, waits for descriptors, results of threads."""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref

from polyproc._base.modules import loaded
from polyproc._base.process_state import log
from polyproc._base.typing import TYPE_CHECKING, Any, Callable
from polyproc._platform.handles import due

# OwnerThread: a thread that runs functions one by one, and so owns what they acquire.


class OwnerThread:
    """A thread that calls functions for tasks, one after the other, until it is ended or nobody has it any more.

    `depth` is the caller's: how often the lock that the thread is for was acquired.
    """

    def __init__(self) -> None:
        self.depth = 0
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        thread = threading.Thread(target=_do_jobs, args=(self._jobs,), name="polyproc-aio-owner", daemon=True)
        thread.start()
        weakref.finalize(self, self._jobs.put, None).atexit = False

    def do(self, function: Callable[[], Any]) -> ThreadResult:
        """Call a function in the thread; return its ThreadResult."""
        result = ThreadResult()
        self._jobs.put(lambda: result.run(function))
        return result

    def tell(self, function: Callable[[], object]) -> None:
        """Call a function in the thread; its result and its error are dropped."""
        self._jobs.put(function)

    def end(self) -> None:
        """End the thread when it has done what it has."""
        self._jobs.put(None)


def _do_jobs(jobs: queue.SimpleQueue[Callable[[], object] | None]) -> None:
    while (job := jobs.get()) is not None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001  (nobody hears of it; and others wait for this thread)
            log.info("a call in a thread of a task failed: %r", error)
        del job


FIRST_TICK, LAST_TICK = 0.0005, 0.01  # seconds between two looks, where nothing can be waited for


def running_library() -> tuple[Any, Any]:
    """Return (asyncio, None) in a running loop of it, else (None, trio). Raises RuntimeError if neither is loaded."""
    asyncio: Any = loaded("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return asyncio, None
    trio = loaded("trio")
    if trio is None:
        raise RuntimeError("a call can be awaited in a running loop of asyncio or trio")
    return None, trio


def current_task() -> Any:
    """Return the task that runs."""
    asyncio, trio = running_library()
    return asyncio.current_task() if trio is None else trio.lowlevel.current_task()


class ThreadEvent:
    """Set by any thread, once; waited for by tasks of the loop in which it was made."""

    def __init__(self) -> None:
        asyncio, trio = running_library()
        self._soon: Callable[[Callable[[], object]], object]
        if trio is None:
            self._event = asyncio.Event()
            self._soon = asyncio.get_running_loop().call_soon_threadsafe
        else:
            self._soon = trio.lowlevel.current_trio_token().run_sync_soon  # RuntimeError outside of a loop
            self._event = trio.Event()

    def set(self) -> None:
        """Wake the waiters, now or later."""
        try:
            self._soon(self._event.set)
        except RuntimeError:  # the loop has ended: nobody waits
            pass

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has been set, up to `timeout` seconds; return whether it was."""
        return await _in_time(self._event.wait, timeout)

    async def wait_in_any_case(self) -> None:
        """Wait as `wait` does; a task that is cancelled meanwhile is cancelled afterwards."""
        asyncio, trio = running_library()
        if trio is not None:
            with trio.CancelScope(shield=True):
                await self._event.wait()
            return
        cancelled: BaseException | None = None
        while not self._event.is_set():
            try:
                await self._event.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


async def _in_time(function: Callable[[], Any], timeout: float | None) -> bool:
    """Await a call for up to `timeout` seconds; return whether it came to its end."""
    if timeout is None:
        await function()
        return True
    asyncio, trio = running_library()
    if trio is not None:
        with trio.move_on_after(timeout) as scope:
            await function()
        return not scope.cancelled_caught
    try:
        await asyncio.wait_for(function(), timeout)
    except TimeoutError:
        return False
    return True


async def sleep(seconds: float) -> None:
    """Sleep, in either."""
    asyncio, trio = running_library()
    await (asyncio if trio is None else trio).sleep(seconds)


async def readable(fd: int, timeout: float | None = None) -> bool:
    """Wait until a descriptor is readable, up to `timeout` seconds; return whether it is. Several tasks may wait."""
    asyncio, trio = running_library()
    own = os.dup(fd)  # a loop takes one waiter for each descriptor
    try:
        if trio is not None:
            return await _in_time(lambda: trio.lowlevel.wait_readable(own), timeout)
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(own, event.set)
        try:
            return await _in_time(event.wait, timeout)
        finally:
            loop.remove_reader(own)
    finally:
        os.close(own)


class Ticks:
    """Looks that become rarer, until a deadline."""

    def __init__(self, timeout: float | None) -> None:
        self._until = None if timeout is None else due(timeout)
        self._tick = FIRST_TICK

    def left(self) -> float | None:
        """Return how many seconds are left, None for no limit; not less than 0."""
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)

    def is_over(self) -> bool:
        """Return whether there is no time left."""
        return self.left() == 0.0

    async def next(self) -> None:
        """Sleep until the next look."""
        left = self.left()
        await sleep(self._tick if left is None else min(self._tick, left))
        self._tick = min(2 * self._tick, LAST_TICK)


class ThreadResult:
    """The outcome of a function that runs in a thread, for one task."""

    def __init__(self) -> None:
        self._event = ThreadEvent()
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self, function: Callable[[], Any]) -> None:
        """Call the function, in the thread, and tell."""
        try:
            self._value = function()
        except BaseException as error:  # noqa: BLE001  (it is raised where it is awaited)
            self._error = error
        self._event.set()

    async def over(self) -> None:
        """Run it, and leave its outcome for `wait`."""
        await self._event.wait()

    async def wait(self, in_any_case: bool = False) -> Any:
        """Wait for it; return what the function returned, or raise what it raised."""
        await (self._event.wait_in_any_case() if in_any_case else self._event.wait())
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # no cycle with the traceback
        return self._value


async def in_thread(function: Callable[[], Any], give_up: Callable[[], object]) -> Any:
    """Call a function in a thread of its own; `give_up` is called when the wait is cancelled, and should end it."""
    result = ThreadResult()
    threading.Thread(target=result.run, args=(function,), name="polyproc-aio", daemon=True).start()
    try:
        return await result.wait()
    except BaseException:
        give_up()
        raise


class AioView:
    """The methods of an object as coroutines: a base of classes that have one for each public method.

    Those that do not wait just call the object's.
    """

    def __init__(self, of: Any) -> None:
        self._of = of

    if not TYPE_CHECKING:  # type checkers see the methods that a view defines, and no others

        def __getattr__(self, name: str) -> Any:
            """Return a coroutine function for a method that a subclass of the object's class has added."""
            of = self._of
            if name.startswith("_") or isinstance(getattr(type(of), name, None), property):
                raise AttributeError(f"{name!r} of {type(of).__name__} is not a method: there is no coroutine of it")
            method = getattr(of, name)

            async def call(*args: Any, **kwds: Any) -> Any:
                return method(*args, **kwds)

            call.__name__ = call.__qualname__ = name
            return call

    def __repr__(self) -> str:
        return f"<aio of {self._of!r}>"
