"""What is owed to whom: pure state, no I/O, no threads, no processes.

open -> waiting -> handed to a worker -> settled
            ^            |
            +-- not taken by the worker yet: taken back for an idle one, or when the worker is dead

A worker runs what it was handed in order. So a result belongs to the oldest task that it has, and when it dies, at most
one of those that it had taken has no result: the one that it ran.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from typing import Any

# (number of the job, index in the job)
TaskId = tuple[int, int]

FEWEST, MOST = 2, 64  # how many tasks a worker may have, the running one among them
WORTH = 0.002  # seconds of work that a worker should have at hand
_WEIGHT = 0.1  # of a new measurement


@dataclass
class Batch:
    """Chunks of one map that go together, since each takes less than sending it: start to stop of `chunks`."""

    function: bytes
    kind: int
    start: int
    stop: int
    chunks: bytes

    def message(self) -> tuple[Any, ...]:
        """Return what goes to a worker."""
        return self.function, self.kind, self.start, self.stop, self.chunks


@dataclass
class Task:
    """A task as it goes to a worker: who it is for, and the pickled function and arguments."""

    id: TaskId
    payload: Any
    name: str = ""
    size: int = 0
    batch: Batch | None = None

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
    since: float = 0.0  # when it was last seen to begin a task


class Ledger:
    """The tasks of a pool and the workers that have them.

    Args:
        maxtasks: after how many tasks a worker leaves; None for never.
        most: how many tasks a worker may have at once, at most.
        most_bytes: how large a task may be that waits behind a running one; None for any size.
    """

    def __init__(self, maxtasks: int | None = None, most: int = MOST, most_bytes: int | None = None) -> None:
        self.waiting: collections.deque[Task] = collections.deque()
        self.accounts: dict[Any, Account] = {}
        self.maxtasks = maxtasks
        self._most = most
        self._most_bytes = most_bytes
        self._cost = WORTH  # seconds that a chunk takes, as it seems

    def open(self, task: Task) -> None:
        """Add a task."""
        self.waiting.append(task)

    def join(self, worker: Any) -> None:
        """Add a worker."""
        self.accounts[worker] = Account()

    def next_for(self, worker: Any, now: float) -> tuple[int, Task] | None:
        """Hand the next task to a worker, if it may have one more; return its number there, too."""
        account = self.accounts.get(worker)
        if account is None or not self.waiting:
            return None
        held = sum(task.count for _, task in account.handed)
        if held and (held >= self._depth() or self._is_too_large(self.waiting[0]) or self._is_for_idle()):
            return None
        if self.maxtasks is not None and account.done + held >= self.maxtasks:
            return None
        if not held:
            account.since = now
        account.count += 1
        number = account.count & 0xFFFF
        task = self.waiting.popleft()
        account.handed.append((number, task))
        return number, task

    def _depth(self) -> int:
        return min(max(int(WORTH / self._cost), FEWEST), self._most)

    def _is_for_idle(self) -> bool:
        """Say whether there is no more waiting than those who have nothing will get."""
        return len(self.waiting) <= len(self.accounts) and len(self.waiting) <= len(self.idle())

    def _is_too_large(self, task: Task) -> bool:
        return self._most_bytes is not None and task.size > self._most_bytes

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
        account.done += 1
        self._cost += _WEIGHT * (max(now - account.since, 1e-6) / chunks - self._cost)
        account.since = now
        return task, self.maxtasks is not None and account.done >= self.maxtasks

    def idle(self) -> list[Any]:
        """Return the workers that have nothing and may have something."""
        return [
            worker
            for worker, account in self.accounts.items()
            if not account.handed and (self.maxtasks is None or account.done < self.maxtasks)
        ]

    def rich(self) -> list[Any]:
        """Return the workers that have tasks behind the one that they run, as it seems; those with most first."""
        found = [(len(account.handed), worker) for worker, account in self.accounts.items() if len(account.handed) > 1]
        return [worker for _, worker in sorted(found, key=lambda item: -item[0])]

    def behind(self, worker: Any) -> int:
        """Return how many tasks a worker has behind the one that it runs."""
        return max(len(self.accounts[worker].handed) - 1, 0)

    def take_back(self, worker: Any, numbers: list[int]) -> None:
        """Have tasks that a worker has not taken wait again, before all others."""
        account = self.accounts[worker]
        taken_back = [task for number, task in account.handed if number in numbers]
        account.handed = collections.deque(item for item in account.handed if item[0] not in numbers)
        self.waiting.extendleft(reversed(taken_back))

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
        return account.handed[0][1] if account.handed else None

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
        return dropped
