"""OwnerThread: a thread that runs functions one by one, and so owns what they acquire."""

from __future__ import annotations

import queue
import threading
import weakref

from polyproc._aio.loops import ThreadResult
from polyproc._log import log
from polyproc._typing import Any, Callable


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
