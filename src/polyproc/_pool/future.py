"""Future: the result of one call, as in concurrent.futures; a running call can be cancelled, and it can be awaited."""

from __future__ import annotations

import _thread
import concurrent.futures
import threading

from polyproc._base.errors import ProcessError
from polyproc._base.modules import public
from polyproc._base.typing import Any, Generator, Protocol, TypeVar
from polyproc._pool.calls import Job
from polyproc._scheduling.actions import Dropped
from polyproc._scheduling.assignments import QueuedTask

T = TypeVar("T")


class Engine(Protocol):
    """What runs calls."""

    def cancel(self, task: QueuedTask) -> None:
        """End a call; it does not begin any more."""
        ...

    def runs(self, task: QueuedTask) -> bool:
        """Whether a worker runs a call."""
        ...


class _Condition(_thread.RLock):  # type: ignore[misc]  # which can be inherited from
    """What `threading.Condition` is, of one object until somebody waits: there is one for each future."""

    __slots__ = ("_waited",)

    def __init__(self) -> None:
        super().__init__()
        self._waited: threading.Condition | None = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is notified, up to `timeout` seconds."""
        if self._waited is None:
            self._waited = threading.Condition(self)
        return self._waited.wait(timeout)

    def notify_all(self) -> None:
        """Wake all threads that wait."""
        waited, self._waited = self._waited, None  # it refers to this
        if waited is not None:
            waited.notify_all()


_ATTRIBUTES = {"_condition", "_state", "_result", "_exception", "_waiters", "_done_callbacks"}
_is_known = vars(concurrent.futures.Future()).keys() == _ATTRIBUTES  # else a version has others, too


@public("")
class Future(concurrent.futures.Future[T], Job):
    """The result of a call in a pool. As in the standard library, except:

    `cancel` succeeds until the call is done. One that no worker has begun never runs. In one that runs,
    `concurrent.futures.CancelledError` is raised; if it has not ended after the call's grace, its worker is killed.
    Other calls are not touched.

    `await` works in asyncio and in trio; cancelling the task that awaits cancels the call.
    """

    _call: tuple[Engine, QueuedTask] | None = None  # what runs it, and what it is there

    def __init__(self) -> None:
        if _is_known:
            self._state = "PENDING"
            self._result = self._exception = None
            self._waiters: list[Any] = []
            self._done_callbacks: list[Any] = []
        else:
            super().__init__()
        self._condition: Any = _Condition()

    def cancel(self) -> bool:
        """Cancel the call; does not wait for its end. Return False if it was done before."""
        if not super().cancel():
            return False
        self._notify_cancelled()
        call, self._call = self._call, None
        if call is not None:
            call[0].cancel(call[1])
        return True

    def _notify_cancelled(self) -> None:
        """Tell `wait` and `as_completed`."""
        with self._condition:
            if self._state == "CANCELLED":
                self.set_running_or_notify_cancel()

    def running(self) -> bool:
        """Return whether a worker runs the call."""
        call = self._call
        return self._state == "RUNNING" or (self._state == "PENDING" and call is not None and call[0].runs(call[1]))

    @property
    def _calls_back(self) -> bool:  # type: ignore[override]
        return bool(self._done_callbacks) or self._progress is not None

    def _let_go(self) -> None:
        self._progress = None
        if self._state == "RUNNING":  # its progress is told just now
            self._take(False, ProcessError("the pool was terminated"))

    def _settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result."""
        if type(value) is Dropped:
            super().cancel()
            self._notify_cancelled()
            return True
        if self._progress is not None:
            with self._condition:
                if self._state != "PENDING":  # it was cancelled
                    return True
                self.set_running_or_notify_cancel()
            self._progress.advance(1)
        self._call = None
        self._take(success, value)
        return True

    def _take(self, success: bool, value: Any) -> None:
        try:
            if success:
                self.set_result(value)
            else:
                self.set_exception(value)
        except concurrent.futures.InvalidStateError:  # it was cancelled, or its pool has ended meanwhile
            pass

    def __await__(self) -> Generator[Any, None, T]:
        from polyproc._aio.loops import running_library

        asyncio, trio = running_library()
        if trio is not None:
            return _await_in_trio(self).__await__()
        result: Generator[Any, None, T] = asyncio.wrap_future(self).__await__()
        return result


async def _await_in_trio(future: Future[T]) -> T:
    from polyproc._aio.loops import ThreadEvent

    event = ThreadEvent()
    future.add_done_callback(lambda _: event.set())
    try:
        await event.wait()
    except BaseException:
        future.cancel()
        raise
    return future.result()
