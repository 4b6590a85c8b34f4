"""The jobs of a pool that are not done: their results are noted under the pool's lock, and told without it.

`Desk` is what a crew of processes and one of threads have in common: the jobs, and whether more are taken.
"""

from __future__ import annotations

import collections
import itertools
import threading
from typing import TYPE_CHECKING, Any

from polyproc._pool.ledger import Task
from polyproc._pool.results import Job, Withdrawn

if TYPE_CHECKING:
    from polyproc._pool.feeder import Feeder


class Jobs:
    """Jobs by number. The caller of all but `tell` and `forget` has the pool's lock."""

    def __init__(self) -> None:
        self._jobs: dict[int, tuple[Job, object]] = {}
        self._numbers = itertools.count(1)
        self._finished: collections.deque[tuple[int, int, bool, Any]] = collections.deque()
        self._telling = threading.Lock()
        self.failed = 0  # tasks

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def settled(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._finished)

    def add(self, job: Job, keeps: object) -> int:
        """Add a job that keeps an object alive until it is done; return its number."""
        number = next(self._numbers)
        self._jobs[number] = job, keeps
        return number

    def settle(self, number: int, index: int, success: bool, value: Any) -> None:
        """Note the result of a chunk."""
        self._finished.append((number, index, success, value))

    def fail(self, task: Task, error: Any) -> None:
        """Note an error for each chunk of a task."""
        number, index = task.id
        self.failed += 1
        for offset in range(task.count):
            self.settle(number, index + offset, False, error)

    def cancel(self, task: Task) -> None:
        """Note that a task will not run."""
        number, index = task.id
        for offset in range(task.count):
            self.settle(number, index + offset, False, Withdrawn())

    def lift(self) -> None:
        """Have no job wait for its reader."""
        for job, _ in list(self._jobs.values()):
            job.lift()

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
                    entry = self._jobs.get(number)
                    if entry is not None and entry[0].settle(index, success, value):
                        self.forget(number)
                        done = True
                    del entry, value
            finally:
                self._telling.release()
        return done

    def forget(self, number: int) -> object:
        """Remove a job that is done; return what it kept, which is not to be let go under a lock: it may be a pool."""
        return self._jobs.pop(number, None)


RUN, CLOSE, TERMINATE = "RUN", "CLOSE", "TERMINATE"


class Desk:
    """The jobs of a pool, its state, and the lock of both."""

    def __init__(self) -> None:
        self.state = RUN
        self.lock = threading.RLock()
        self.jobs = Jobs()
        self.error: BaseException | None = None  # of a pool that can do nothing more
        self.feeders: list[Feeder] = []  # which bring the tasks of an imap

    def has_enough(self, name: str) -> bool:
        """Say whether one more call of a function could wait a little: they are short, and there is enough at hand."""
        return False

    def flush_feeders(self) -> None:
        """Have added what feeders have gathered, where there is not enough at hand."""
        for feeder in tuple(self.feeders):
            if not self.has_enough(feeder.called):
                feeder.flush()

    def wake(self) -> None:
        """Look at the state: it was changed, or a job is done."""
        raise NotImplementedError

    def have_told(self) -> None:
        """Have told what was settled by a caller: `tell`, if nobody else can."""
        self.tell()

    def close(self) -> None:
        """Take no more jobs."""
        with self.lock:
            if self.state == RUN:
                self.state = CLOSE
        self.jobs.lift()
        self.wake()

    def terminate(self) -> None:
        """Take no more jobs, and drop those that are there. Does not wait."""
        with self.lock:
            self.state = TERMINATE
        self.jobs.lift()
        self.wake()

    def withdraw(self, task: Task) -> None:
        """Have a task not run, or end, if that can be; its job is not told of it any more."""
        with self.lock:
            kept = self.jobs.forget(task.id[0])
            self._drop(task)
        self.wake()
        del kept

    def withdraw_waiting(self, number: int | None = None) -> None:
        """Drop the tasks that nobody has begun, of one job or of all; they count as cancelled."""
        with self.lock:
            for task in self._drop_waiting(number):
                self.jobs.cancel(task)
        self.have_told()

    def _drop(self, task: Task) -> None:
        raise NotImplementedError

    def _drop_waiting(self, number: int | None) -> list[Task]:
        raise NotImplementedError

    def add_job(self, job: Job, pool: object) -> int:
        """Register a job, which keeps its pool alive; return its number. Raises ValueError when no more are taken."""
        with self.lock:
            if self.state != RUN:
                raise ValueError("Pool not running")
            return self.jobs.add(job, pool)

    def fail_all(self, number: int, tasks: int, error: BaseException) -> None:
        """Fail all tasks of a job before any was added."""
        with self.lock:
            for index in range(tasks):
                self.jobs.settle(number, index, False, error)
        self.have_told()

    def tell(self) -> None:
        """Give results to those who wait; then the pool may be done."""
        if self.jobs.tell() and self.state != RUN:
            self.wake()

    def forget(self, number: int) -> None:
        """Remove a job that is done."""
        self.jobs.forget(number)
        if self.state != RUN:
            self.wake()
