"""What is owed to whom: pure state, no I/O, no threads, no processes.

open -> waiting -> handed to a worker -> settled
            ^            |
            +--- lost ---+    the first task that a dead worker held was running: it is lost with it;
                              those behind it never began: they wait again, at the front
"""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from typing import Any

# (number of the job, index in the job)
TaskId = tuple[int, int]

PREFETCH = 2
# A task this small fits into the channel's buffer beside a running one; a larger one waits for an idle worker, since
# writing it would block until the worker reads.
PREFETCH_BYTES = 32768


@dataclass
class Task:
    """A task as it goes to a worker: who it is for, and the pickled function and arguments."""

    id: TaskId
    payload: bytes
    name: str = ""


@dataclass
class Account:
    """One worker's tasks, in the order in which it got them; the first is the one that runs."""

    handed: collections.deque[Task] = field(default_factory=collections.deque)
    done: int = 0


class Ledger:
    """The tasks of a pool and the workers that have them."""

    def __init__(self, maxtasks: int | None = None) -> None:
        self.waiting: collections.deque[Task] = collections.deque()
        self.accounts: dict[Any, Account] = {}
        self.maxtasks = maxtasks

    def open(self, task: Task) -> None:
        """Add a task."""
        self.waiting.append(task)

    def join(self, worker: Any) -> None:
        """Add a worker."""
        self.accounts[worker] = Account()

    def next_for(self, worker: Any) -> Task | None:
        """Hand the next task to a worker, if it may have one more."""
        account = self.accounts.get(worker)
        if account is None or not self.waiting or len(account.handed) >= PREFETCH:
            return None
        if self.maxtasks is not None and account.done + len(account.handed) >= self.maxtasks:
            return None
        if account.handed and (len(self.waiting[0].payload) > PREFETCH_BYTES or self._has_idle()):
            return None
        task = self.waiting.popleft()
        account.handed.append(task)
        return task

    def _has_idle(self) -> bool:
        return any(not account.handed for account in self.accounts.values())

    def settle(self, worker: Any, task_id: TaskId) -> bool:
        """Note a result; return whether the worker has reached its number of tasks and will leave."""
        account = self.accounts[worker]
        if not account.handed or account.handed[0].id != task_id:
            raise ValueError(f"worker answered {task_id!r}, which is not the task that it runs")
        account.handed.popleft()
        account.done += 1
        return self.maxtasks is not None and account.done >= self.maxtasks

    def lost(self, worker: Any) -> Task | None:
        """Remove a dead worker; return the task that it ran, if any; those behind that wait again."""
        account = self.accounts.pop(worker, None)
        if account is None or not account.handed:
            return None
        running = account.handed.popleft()
        self.waiting.extendleft(reversed(account.handed))
        return running

    def is_settled(self) -> bool:
        """Say whether nothing is owed."""
        return not self.waiting and not any(account.handed for account in self.accounts.values())

    def drop_all(self) -> list[TaskId]:
        """Forget every task; return their ids."""
        dropped = [task.id for task in self.waiting]
        self.waiting.clear()
        for account in self.accounts.values():
            dropped += [task.id for task in account.handed]
            account.handed.clear()
        return dropped
