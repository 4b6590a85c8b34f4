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
from typing import Any, NamedTuple

from polyproc._pool.options import PLAIN, Terms
from polyproc._pool.waiting import Waiting

# (number of the job, index in the job)
TaskId = tuple[int, int]

FEWEST, MOST = 2, 64  # how many tasks a worker may have, the running one among them
WORTH = 0.002  # seconds of work that a worker should have at hand
WAKING = 0.0001  # seconds of work that are done sooner by who is awake than by who has to be woken
_WEIGHT = 0.1  # of a new measurement, at least
_MOST_NAMES = 1000
_PLACES = 65535  # a worker's tasks are numbered from 1 to this, and again


class Batch(NamedTuple):
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
        return [self._replace(start=first, stop=last) for first, last in itertools.pairwise(bounds)]

    def message(self) -> tuple[Any, ...]:
        """Return what goes to a worker."""
        return self.function, self.kind, self.start, self.stop, self.chunks


class Task:
    """A task as it goes to a worker: who it is for, and the pickled function and arguments.

    `holder` is the worker that has it, with its number there; `withdrawn` says that nobody wants it any more, `waits`
    that it is among those that no worker has; `load` is how many seconds it takes, as it seemed when it was handed out.
    """

    __slots__ = ("attempt", "batch", "holder", "id", "load", "name", "payload", "terms", "waits", "withdrawn")

    def __init__(
        self, id: TaskId, payload: Any, name: str = "", batch: Batch | None = None, terms: Terms = PLAIN
    ) -> None:
        self.id = id
        self.payload = payload
        self.name = name
        self.batch = batch
        self.terms = terms
        self.attempt = 1
        self.holder: tuple[Any, int] | None = None
        self.withdrawn = self.waits = False
        self.load = 0.0

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


class Account:
    """One worker's tasks, in the order in which it got them, each with a number; the first is the one that runs."""

    __slots__ = ("chunks", "count", "done", "handed", "leaving", "load", "since")

    def __init__(self, since: float) -> None:
        self.handed: collections.deque[tuple[int, Task]] = collections.deque()
        self.chunks = 0  # of them all
        self.load = 0.0  # of them all
        self.done = self.count = 0
        self.since = since  # when it was last seen to begin a task, or to have none
        self.leaving = False  # it gets no more


class Tally:
    """What was done."""

    def __init__(self) -> None:
        self.done = self.retried = self.lost = 0
        self.seconds = 0.0
        self.slowest = "", 0.0

    def add(self, task: Task, seconds: float, chunks: int = 1) -> None:
        """Count a task that was answered."""
        self.done += chunks
        self.seconds += seconds
        if seconds > self.slowest[1]:
            self.slowest = task.name, seconds


class Costs:
    """What a chunk takes, by its function's name: a guess from what the last ones took."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, int]] = {}

    def of(self, name: str) -> float:
        """Return it in seconds; of a name that is not known, that of a long one."""
        known = self._known.get(name)
        return WORTH if known is None else known[0]

    def add(self, name: str, seconds: float) -> None:
        """Take note of what one took."""
        mean, count = self._known.get(name, (0.0, 0))
        if not count and len(self._known) >= _MOST_NAMES:
            self._known.clear()
        self._known[name] = mean + max(1 / (count + 1), _WEIGHT) * (seconds - mean), count + 1


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
        self._costs = Costs()
        self._idle: dict[Any, None] = {}  # who has nothing and may have something; last, who had something last
        self._behind = 0  # tasks behind those that run, of all workers
        self._batches = 0  # that workers have

    def open(self, task: Task) -> None:
        """Add a task."""
        self.waiting.append(task)

    def join(self, worker: Any, now: float) -> None:
        """Add a worker."""
        self.accounts[worker] = Account(now)
        self._idle[worker] = None

    def leave(self, worker: Any) -> None:
        """Hand a worker no more."""
        if worker in self.accounts:
            self.accounts[worker].leaving = True
            self._idle.pop(worker, None)

    def _changed(self, worker: Any, account: Account, before: int) -> None:
        """Keep the sums after a change of what a worker has; `before` is how many tasks it had."""
        has = len(account.handed)
        self._behind += (has or 1) - (before or 1)
        if has or account.leaving or (self.maxtasks is not None and account.done >= self.maxtasks):
            self._idle.pop(worker, None)
        else:
            self._idle[worker] = None
            account.load = 0.0  # what is left of it is an error of rounding

    def _count_off(self, account: Account, task: Task) -> None:
        """Have a worker's sums be without a task."""
        task.holder = None
        account.chunks -= task.count
        account.load -= task.load
        self._batches -= task.batch is not None

    def next_for(self, worker: Any, now: float) -> tuple[int, Task] | None:
        """Hand the next task to a worker, if it may have one more; return its number there, too."""
        account = self.accounts.get(worker)
        if account is None or not self.waiting or account.leaving:
            return None
        held = account.chunks
        if self.maxtasks is not None and account.done + held >= self.maxtasks:
            return None
        load = self._costs.of(self.waiting.first().name)
        if held:
            together = account.load + load
            if held >= self._most or (held >= FEWEST and together > WORTH):
                return None
            if together > WAKING and self._is_for_idle():
                return None
        else:
            account.since = now
        account.count += 1
        number = (account.count - 1) % _PLACES + 1
        task = self.waiting.popleft()
        task.holder = worker, number
        task.load = load * task.count
        account.handed.append((number, task))
        account.chunks += task.count
        account.load += task.load
        self._batches += task.batch is not None
        self._changed(worker, account, len(account.handed) - 1)
        return number, task

    def not_sent(self, worker: Any) -> None:
        """Take back what was handed to a worker last: it could not be sent."""
        account = self.accounts[worker]
        self._count_off(account, account.handed.pop()[1])
        self._changed(worker, account, len(account.handed) + 1)

    def _is_for_idle(self) -> bool:
        """Say whether there is no more waiting than those who have nothing will get."""
        return len(self.waiting) <= len(self._idle)

    def is_short(self, name: str) -> bool:
        """Say whether a function's calls take less than it takes to wake a worker."""
        return self._costs.of(name) < WAKING

    def batch_size(self, left: int, name: str) -> int:
        """Return how many of a map's `left` chunks should go together: many short ones, and still enough for all."""
        if self.maxtasks is not None or self._most < FEWEST:  # where nothing can be taken back, nothing goes together
            return 1
        return max(min(int(WORTH / 4 / self._costs.of(name)), left // (8 * max(len(self.accounts), 1)), MOST), 1)

    def split(self, worker: Any, begun: int) -> tuple[Task, Batch] | None:
        """Take back those chunks of the batch that a worker runs which it has not begun; return its task, and them."""
        account = self.accounts[worker]
        task = account.handed[0][1]
        batch = task.batch
        if batch is None or batch.start + begun >= batch.stop:
            return None
        each = task.load / task.count
        rest = batch._replace(start=batch.start + begun)
        task.batch = batch._replace(stop=rest.start)
        account.chunks -= rest.stop - rest.start
        account.load -= each * (rest.stop - rest.start)
        task.load = each * begun
        return task, rest

    def settle(self, worker: Any, now: float, chunks: int = 1, took: float | None = None) -> tuple[Task, bool]:
        """Note the results of a task; return it, and whether its worker has had its number and will leave.

        Args:
            worker: who answered.
            now: the time, in seconds.
            chunks: how many of a batch were done.
            took: how long that took, by the worker's own measure, if it has told.

        Raises:
            ValueError: it has no task.
        """
        account = self.accounts[worker]
        if not account.handed:
            raise ValueError("a worker answered that was asked nothing")
        _, task = account.handed.popleft()
        self._count_off(account, task)
        account.done += 1
        seconds = max(now - account.since if took is None else took, 1e-6)
        if chunks:
            self._costs.add(task.name, seconds / chunks)
        account.since = now
        self._changed(worker, account, len(account.handed) + 1)
        self.tally.add(task, seconds, chunks)
        return task, self.maxtasks is not None and account.done >= self.maxtasks

    def idle(self) -> list[Any]:
        """Return the workers that have nothing and may have something; first, who had something last: it is warm."""
        return list(reversed(self._idle))

    @property
    def has_idle(self) -> bool:
        """Whether a worker has nothing and may have something."""
        return bool(self._idle)

    def has_more(self) -> bool:
        """Say whether there may be something for a worker that has nothing."""
        return bool(self.waiting) or self._behind > 0

    def rich(self) -> list[Any]:
        """Return the workers that have so much behind what they run that it is worth to wake another; most first."""
        found = [
            (len(account.handed), worker)
            for worker, account in self.accounts.items()
            if len(account.handed) > 1 and account.load - account.handed[0][1].load >= WAKING
        ]
        return [worker for _, worker in sorted(found, key=lambda item: -item[0])]

    def is_uneven(self) -> bool:
        """Say whether some have nothing while others have more than the chunk that they run."""
        if not self._idle or not (self._behind or self._batches):
            return False
        return any(account.chunks > 1 for account in self.accounts.values())

    def slow(self, since: float) -> list[Any]:
        """Return the workers that have more than a chunk, which runs since a time, or longer."""
        return [worker for worker, account in self.accounts.items() if account.chunks > 1 and account.since <= since]

    def behind(self, worker: Any) -> int:
        """Return how many tasks a worker has behind the one that it runs."""
        return max(len(self.accounts[worker].handed) - 1, 0)

    def backlog(self) -> int:
        """Return how many tasks no worker runs."""
        return len(self.waiting) + self._behind

    def take_back(self, worker: Any, numbers: list[int]) -> None:
        """Have tasks that a worker has not taken wait again, before all others."""
        account = self.accounts[worker]
        before = len(account.handed)
        taken_back = [task for number, task in account.handed if number in numbers]
        account.handed = collections.deque(item for item in account.handed if item[0] not in numbers)
        for task in reversed(taken_back):
            self._count_off(account, task)
            self.waiting.appendleft(task)
        self._changed(worker, account, before)

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
        before = len(account.handed)
        for _, task in account.handed:
            self._count_off(account, task)
        account.leaving = True
        running = account.handed[0][1] if account.handed else None
        account.handed.clear()
        self._changed(worker, account, before)
        del self.accounts[worker]
        self.tally.lost += running is not None
        return running

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
        for worker, account in self.accounts.items():
            before = len(account.handed)
            for _, task in account.handed:
                self._count_off(account, task)
                dropped.append(task)
            account.handed.clear()
            self._changed(worker, account, before)
        return dropped
