"""What is owed to whom: pure state, no I/O, no threads, no processes.

open -> waiting -> handed to a worker -> settled
            ^            |
            +-- not taken by the worker yet: taken back for an idle one, or when the worker is dead

A worker runs what it was handed in order. So a result belongs to the oldest task that it has, and when it dies, at most
one of those that it had taken has no result: the one that it ran.
"""

from __future__ import annotations

import collections
import itertools
from dataclasses import dataclass, field, replace
from typing import Any

from polyproc._pool.options import PLAIN, Terms
from polyproc._pool.waiting import Waiting

# (number of the job, index in the job)
TaskId = tuple[int, int]

FEWEST, MOST = 2, 64  # how many tasks a worker may have, the running one among them
WORTH = 0.002  # seconds of work that a worker should have at hand
_WEIGHT = 0.1  # of a new measurement
_PLACES = 65535  # a worker's tasks are numbered from 1 to this, and again


@dataclass
class Batch:
    """Chunks of one map that go together, since each takes less than sending it: start to stop of `chunks`."""

    function: bytes
    kind: int
    start: int
    stop: int
    chunks: bytes

    def parts(self, start: int, most: int) -> list[Batch]:
        """Return what is from `start` on, in up to so many parts."""
        left = self.stop - start
        most = min(left, most)
        bounds = [start + left * part // most for part in range(most + 1)]
        return [replace(self, start=first, stop=last) for first, last in itertools.pairwise(bounds)]

    def message(self) -> tuple[Any, ...]:
        """Return what goes to a worker."""
        return self.function, self.kind, self.start, self.stop, self.chunks


@dataclass
class Task:
    """A task as it goes to a worker: who it is for, and the pickled function and arguments.

    `holder` is the worker that has it, with its number there; `withdrawn` says that nobody wants it any more, `waits`
    that it is among those that no worker has.
    """

    id: TaskId
    payload: Any
    name: str = ""
    batch: Batch | None = None
    terms: Terms = PLAIN
    attempt: int = 1
    holder: tuple[Any, int] | None = None
    withdrawn: bool = False
    waits: bool = False

    @property
    def priority(self) -> int:
        """Higher goes first."""
        return self.terms.priority

    def is_tried_again_after(self, error: BaseException) -> bool:
        """Say whether its terms want another attempt."""
        return self.attempt <= self.terms.retries and isinstance(error, self.terms.retry_on)

    @property
    def count(self) -> int:
        """How many chunks of a job it is."""
        return 1 if self.batch is None else self.batch.stop - self.batch.start


@dataclass
class Account:
    """One worker's tasks, in the order in which it got them, each with a number; the first is the one that runs."""

    handed: collections.deque[tuple[int, Task]] = field(default_factory=collections.deque)
    done: int = 0
    count: int = 0
    since: float = 0.0  # when it was last seen to begin a task, or to have none
    leaving: bool = False  # it gets no more


@dataclass
class Tally:
    """What was done."""

    done: int = 0
    retried: int = 0
    lost: int = 0
    seconds: float = 0.0
    slowest: tuple[str, float] = ("", 0.0)

    def add(self, task: Task, seconds: float, chunks: int = 1) -> None:
        """Count a task that was answered."""
        self.done += chunks
        self.seconds += seconds
        if seconds > self.slowest[1]:
            self.slowest = task.name, seconds


class Ledger:
    """The tasks of a pool and the workers that have them.

    Args:
        maxtasks: after how many tasks a worker leaves; None for never.
        most: how many tasks a worker may have at once, at most.
    """

    def __init__(self, maxtasks: int | None = None, most: int = MOST) -> None:
        self.waiting: Waiting[Task] = Waiting()
        self.accounts: dict[Any, Account] = {}
        self.maxtasks = maxtasks
        self.tally = Tally()
        self._most = most
        self._cost = WORTH  # seconds that a chunk takes, as it seems

    def open(self, task: Task) -> None:
        """Add a task."""
        self.waiting.append(task)

    def join(self, worker: Any, now: float) -> None:
        """Add a worker."""
        self.accounts[worker] = Account(since=now)

    def leave(self, worker: Any) -> None:
        """Hand a worker no more."""
        if worker in self.accounts:
            self.accounts[worker].leaving = True

    def next_for(self, worker: Any, now: float) -> tuple[int, Task] | None:
        """Hand the next task to a worker, if it may have one more; return its number there, too."""
        account = self.accounts.get(worker)
        if account is None or not self.waiting or account.leaving:
            return None
        held = sum(task.count for _, task in account.handed) if account.handed else 0
        if held and (held >= self._depth() or self._is_for_idle()):
            return None
        if self.maxtasks is not None and account.done + held >= self.maxtasks:
            return None
        if not held:
            account.since = now
        account.count += 1
        number = (account.count - 1) % _PLACES + 1
        task = self.waiting.popleft()
        task.holder = worker, number
        account.handed.append((number, task))
        return number, task

    def _depth(self) -> int:
        return min(max(int(WORTH / self._cost), FEWEST), self._most)

    def _is_for_idle(self) -> bool:
        """Say whether there is no more waiting than those who have nothing will get."""
        return len(self.waiting) <= len(self.accounts) and len(self.waiting) <= len(self.idle())

    def batch_size(self, left: int) -> int:
        """Return how many of a map's `left` chunks should go together: many short ones, and still enough for all."""
        if self.maxtasks is not None:
            return 1
        return max(min(int(WORTH / 4 / self._cost), left // (8 * max(len(self.accounts), 1)), MOST), 1)

    def settle(self, worker: Any, now: float, chunks: int = 1) -> tuple[Task, bool]:
        """Note the results of a task; return it, and whether its worker has had its number and will leave.

        Args:
            worker: who answered.
            now: the time, in seconds.
            chunks: how many of a batch were done.

        Raises:
            ValueError: it has no task.
        """
        account = self.accounts[worker]
        if not account.handed:
            raise ValueError("a worker answered that was asked nothing")
        _, task = account.handed.popleft()
        task.holder = None
        account.done += 1
        seconds = max(now - account.since, 1e-6)
        self._cost += _WEIGHT * (seconds / chunks - self._cost)
        account.since = now
        self.tally.add(task, seconds, chunks)
        return task, self.maxtasks is not None and account.done >= self.maxtasks

    def idle(self) -> list[Any]:
        """Return the workers that have nothing and may have something."""
        return [
            worker
            for worker, account in self.accounts.items()
            if not account.handed and not account.leaving and (self.maxtasks is None or account.done < self.maxtasks)
        ]

    def has_more(self) -> bool:
        """Say whether there is something for a worker that has nothing."""
        if self.waiting:
            return True
        for account in self.accounts.values():  # noqa: SIM110  (called several times for each task)
            if len(account.handed) > 1:
                return True
        return False

    def rich(self) -> list[Any]:
        """Return the workers that have tasks behind the one that they run, as it seems; those with most first."""
        found = [(len(account.handed), worker) for worker, account in self.accounts.items() if len(account.handed) > 1]
        return [worker for _, worker in sorted(found, key=lambda item: -item[0])]

    def slow(self, since: float) -> list[Any]:
        """Return the workers that have tasks behind one that runs since a time, or longer."""
        return [
            worker for worker, account in self.accounts.items() if len(account.handed) > 1 and account.since <= since
        ]

    def behind(self, worker: Any) -> int:
        """Return how many tasks a worker has behind the one that it runs."""
        return max(len(self.accounts[worker].handed) - 1, 0)

    def backlog(self) -> int:
        """Return how many tasks no worker runs."""
        return len(self.waiting) + sum(self.behind(worker) for worker in self.accounts)

    def take_back(self, worker: Any, numbers: list[int]) -> None:
        """Have tasks that a worker has not taken wait again, before all others."""
        account = self.accounts[worker]
        taken_back = [task for number, task in account.handed if number in numbers]
        account.handed = collections.deque(item for item in account.handed if item[0] not in numbers)
        for task in reversed(taken_back):
            task.holder = None
            self.waiting.appendleft(task)

    def lost(self, worker: Any, numbers: list[int] | None) -> Task | None:
        """Remove a dead worker; return the task that it ran, if any; the others wait again.

        Args:
            worker: the worker.
            numbers: the tasks that it had not taken; None if that cannot be told: all but the first, then.
        """
        account = self.accounts.get(worker)
        if account is None:
            return None
        if numbers is None:
            numbers = [number for number, _ in list(account.handed)[1:]]
        self.take_back(worker, numbers)
        del self.accounts[worker]
        if not account.handed:
            return None
        account.handed[0][1].holder = None
        self.tally.lost += 1
        return account.handed[0][1]

    def head(self, worker: Any) -> tuple[int, Task] | None:
        """Return the task that a worker runs, as far as its answers have told, and its number there."""
        account = self.accounts.get(worker)
        return account.handed[0] if account is not None and account.handed else None

    def task_at(self, worker: Any, number: int) -> Task | None:
        """Return the task that a worker has under a number."""
        account = self.accounts.get(worker)
        return next((task for place, task in account.handed if place == number), None) if account is not None else None

    def again(self, task: Task) -> None:
        """Have a task that failed wait for another attempt."""
        task.attempt += 1
        self.tally.retried += 1
        self.waiting.append(task)

    def is_settled(self) -> bool:
        """Say whether nothing is owed."""
        return not self.waiting and not any(account.handed for account in self.accounts.values())

    def drop_all(self) -> list[Task]:
        """Forget every task; return them."""
        dropped = list(self.waiting)
        self.waiting.clear()
        for account in self.accounts.values():
            dropped += [task for _, task in account.handed]
            account.handed.clear()
        for task in dropped:
            task.holder = None
        return dropped
