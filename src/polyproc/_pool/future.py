"""Future: the result of one call, as in concurrent.futures; a running call can be cancelled, and it can be awaited."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Generator
from typing import Any, Protocol, TypeVar

from polyproc._aio.loops import Bell, running_library
from polyproc._pool.results import Job, Withdrawn

T = TypeVar("T")


class Call(Protocol):
    """A call that was submitted."""

    def withdraw(self) -> None:
        """Have it not run; interrupt it if it does."""
        ...

    def is_running(self) -> bool:
        """Say whether a worker runs it."""
        ...


class Future(concurrent.futures.Future[T], Job):
    """The result of a call in a pool. As in the standard library, except:

    `cancel` succeeds until the call is done. One that no worker has begun never runs. In one that runs,
    `concurrent.futures.CancelledError` is raised; if it has not ended after the call's grace, its worker is killed.
    Other calls are not touched.

    `await` works in asyncio and in trio; cancelling the task that awaits cancels the call.
    """

    _call: Call | None = None  # from when it was submitted, until it is done

    def cancel(self) -> bool:
        """Cancel the call; does not wait for its end. Return False if it was done before."""
        if not super().cancel():
            return False
        self._notify_cancelled()
        call, self._call = self._call, None
        if call is not None:
            call.withdraw()
        return True

    def submitted_as(self, call: Call) -> None:
        """Know what to withdraw."""
        if not self.done():
            self._call = call

    def _notify_cancelled(self) -> None:
        """Tell `wait` and `as_completed`."""
        with self._condition:
            if self._state == "CANCELLED":
                self.set_running_or_notify_cancel()

    def running(self) -> bool:
        """Say whether a worker runs the call."""
        call = self._call
        return self._state == "RUNNING" or (self._state == "PENDING" and call is not None and call.is_running())

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result."""
        if isinstance(value, Withdrawn):
            super().cancel()
            self._notify_cancelled()
            return True
        with self._condition:
            if self._state != "PENDING":  # it was cancelled
                return True
            self.set_running_or_notify_cancel()
        self._call = None
        if self.progress is not None:
            self.progress.advance(1)
        if success:
            self.set_result(value)
        else:
            self.set_exception(value)
        return True

    def __await__(self) -> Generator[Any, None, T]:
        asyncio, trio = running_library()
        if trio is not None:
            return _await_in_trio(self).__await__()
        result: Generator[Any, None, T] = asyncio.wrap_future(self).__await__()
        return result


async def _await_in_trio(future: Future[T]) -> T:
    bell = Bell()
    future.add_done_callback(lambda _: bell.ring())
    try:
        await bell.wait()
    except BaseException:
        future.cancel()
        raise
    return future.result()
