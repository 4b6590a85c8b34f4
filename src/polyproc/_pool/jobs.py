"""The jobs of a pool that are not done: their results are noted under the pool's lock, and told without it."""

from __future__ import annotations

import collections
import itertools
import threading
from typing import Any

from polyproc._pool.ledger import Task
from polyproc._pool.results import Job


class Jobs:
    """Jobs by number. The caller of all but `tell` and `forget` has the pool's lock."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._numbers = itertools.count(1)
        self._finished: collections.deque[tuple[int, int, bool, Any]] = collections.deque()
        self._telling = threading.Lock()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> int:
        """Add a job; return its number."""
        number = next(self._numbers)
        self._jobs[number] = job
        return number

    def settle(self, number: int, index: int, success: bool, value: Any) -> None:
        """Note the result of a chunk."""
        self._finished.append((number, index, success, value))

    def fail(self, task: Task, error: Any) -> None:
        """Note an error for each chunk of a task."""
        number, index = task.id
        for offset in range(task.count):
            self.settle(number, index + offset, False, error)

    def tell(self) -> bool:
        """Give results to those who wait, and to callbacks, one after the other; say whether a job is done.

        Callbacks are the user's, so this is done without the pool's lock; and by one thread, which tells also what
        others note meanwhile.
        """
        done = False
        while self._finished and self._telling.acquire(blocking=False):
            try:
                while self._finished:
                    number, index, success, value = self._finished.popleft()
                    job = self._jobs.get(number)
                    if job is not None and job.settle(index, success, value):
                        self.forget(number)
                        done = True
            finally:
                self._telling.release()
        return done

    def forget(self, number: int) -> None:
        """Remove a job that is done."""
        self._jobs.pop(number, None)
