"""Who gets which task when: between what is owed (ledger), who is there (staff) and whose time is up (overtime).

Every caller has the pool's lock, but of `next_at` and `ring`, which the watcher's thread calls.
"""

from __future__ import annotations

import time
from threading import RLock

from polyproc._pool.interruption import CANCELLED, TIMED_OUT, out_of_time
from polyproc._pool.jobs import Jobs
from polyproc._pool.ledger import Batch, Ledger, Task, TaskId
from polyproc._pool.lines import MOST_BEHIND, pack
from polyproc._pool.options import Plan, Terms
from polyproc._pool.overtime import Overtime
from polyproc._pool.staff import Member, Staff
from polyproc._pool.stats import PoolStats
from polyproc._pool.worker import OVERDUE

_LONG = 0.02  # seconds that a task runs before it is not worth to wait behind it
_UNEVEN = 0.004  # seconds after which it is looked whether somebody has nothing while a task waits behind another
_NEVER = float("inf")


class Dispatch:
    """The tasks and the workers of a pool."""

    def __init__(self, plan: Plan, jobs: Jobs, lock: RLock) -> None:
        self._lock = lock
        self._jobs = jobs
        self.ledger = Ledger(plan.maxtasks, MOST_BEHIND)
        self.overtime = Overtime()
        self._look_at = 0.0
        self._even_at = _NEVER
        self._last: int | None = None  # who was handed something last
        self.staff = Staff(plan, self)

    # -- out -------------------------------------------------------------------------------------------------------

    def open(self, tasks: list[Task]) -> bool:
        """Add tasks and hand out what can be; return whether more workers are needed."""
        ledger = self.ledger
        all_have_enough = bool(ledger.waiting) and not ledger.has_idle
        for task in tasks:
            ledger.open(task)
        if all_have_enough:
            return self.ask_for_more()
        now = time.monotonic()
        if self._last is not None and ledger.is_short(tasks[0].name) and ledger.head(self._last) is not None:
            self.fill(self._last, now)  # it is awake, and the tasks are short
        self.fill_idle(now)
        for number in self.staff.members:
            if not ledger.waiting:
                break
            self.fill(number, now)
        return self.ask_for_more()

    def ask_for_more(self) -> bool:
        """Want a worker for each task that none runs, if they come on demand; return whether some are missing."""
        staff = self.staff
        if staff.wanted < staff.size:
            ready = sum(member.ready for member in staff.staying())
            wanted = ready + self.ledger.backlog()
            if wanted and staff.plan.starts_together:
                wanted = staff.size
            staff.wanted = min(staff.size, max(staff.wanted, wanted))
        return staff.is_short()

    def fill_idle(self, now: float) -> None:
        """Hand tasks to those that have none, also what others have not begun, as long as there are some to be had."""
        ledger = self.ledger
        if not ledger.has_idle or not ledger.has_more():
            return
        if ledger.waiting and now >= self._look_at:
            self._take_from_the_slow(now)
        for number in ledger.idle():
            if not ledger.waiting and not self._take_from_the_rich():
                break
            self.fill(number, now)
            if not ledger.has_more():
                break

    def fill(self, number: int, now: float) -> None:
        """Hand a worker as much of what waits as it may have."""
        member = self.staff.members.get(number)
        if member is None or member.leaving or member.noted:
            return
        ledger = self.ledger
        while (handed := ledger.next_for(number, now)) is not None:
            self._last = number
            place, task = handed
            try:
                member.line.send(place, task.payload)
            except OSError as error:  # no memory: that task cannot be sent now
                ledger.not_sent(number)
                self._jobs.fail(task, error)
            else:
                if task.terms.timeout is not None:
                    self.time(number, now)
        if self._even_at == _NEVER and ledger.is_uneven():
            self._even_at = now + _UNEVEN
            self.staff.watcher.be_up_at(self._even_at)

    def time(self, number: int, now: float) -> None:
        """Begin the time of the task that a worker runs now, if it has any."""
        head = self.ledger.head(number)
        if head is None:
            return
        place, task = head
        limit = self.overtime.limits.get(number)
        # A hard limit is that of a task which the worker runs already, whatever of it we have not heard yet.
        if task.terms.timeout is not None and (limit is None or (limit.place != place and not limit.hard)):
            self._begin(number, place, now + task.terms.timeout, hard=False)

    def _begin(self, number: int, place: int, at: float, hard: bool) -> None:
        self.overtime.begin(number, place, at, hard)
        self.staff.watcher.be_up_at(at)

    # -- back ------------------------------------------------------------------------------------------------------

    def settle(self, number: int, now: float, took: float | None, chunks: int = 1) -> tuple[Task, bool]:
        """Note that a worker has answered: see the ledger. Its time is not up, and that of its next task begins."""
        limits = self.overtime.limits
        head = self.ledger.head(number) if limits else None
        settled = self.ledger.settle(number, now, chunks, took)
        if head is not None and (limit := limits.get(number)) is not None and limit.place == head[0]:
            self.staff.members[number].cell.clear()
            self.overtime.end(number)
        head = self.ledger.head(number)
        if head is None:
            self._watch_idle(now)
        elif head[1].terms.timeout is not None:
            self.time(number, now)
        return settled

    def join(self, number: int, now: float) -> None:
        """Have a worker take part: it is ready."""
        self.ledger.join(number, now)
        self._watch_idle(now)

    def _watch_idle(self, now: float) -> None:
        idle_timeout = self.staff.plan.idle_timeout
        if idle_timeout is not None:
            self.staff.watcher.be_up_at(now + idle_timeout)

    def _take_from_the_rich(self) -> bool:
        # The richest may have done all that it has, and its results are on their way: then it is the next one's turn.
        return any(self._take_back(number, -(-self.ledger.behind(number) // 2)) for number in self.ledger.rich())

    def _take_from_the_slow(self, now: float) -> None:
        """Take back what stands behind a long task: it came before what waits."""
        self._look_at = now + _LONG / 2
        for number in self.ledger.slow(now - _LONG):
            self._take_back(number, self.ledger.behind(number))

    def _even_out(self, now: float) -> None:
        """Hand what stands behind a task that turns out to be long to those who have nothing."""
        self._even_at = _NEVER
        if self.ledger.is_uneven():
            for number in self.ledger.slow(now - _UNEVEN / 2):
                self._take_back(number, self.ledger.behind(number))
                self._split(number)
            self.fill_idle(now)
            if self.ledger.is_uneven():
                self._even_at = now + _UNEVEN

    def _split(self, number: int) -> None:
        """Take back what a worker has not begun of the batch that it runs: its chunk may wait for one of those."""
        member, head = self.staff.members.get(number), self.ledger.head(number)
        if member is None or head is None or head[1].batch is None:
            return
        begun = member.cell.close_batch(head[0])
        found = self.ledger.split(number, begun) if begun is not None else None
        if found is not None:
            self.open_parts(*found)

    def open_parts(self, task: Task, rest: Batch) -> None:
        """Have the rest of a batch wait, before all others, in as many parts as there are workers."""
        job, index = task.id
        assert task.batch is not None  # it was one
        index += rest.start - task.batch.start
        for part in reversed(rest.parts(rest.start, len(self.ledger.accounts))):
            id = job, index + part.start - rest.start
            self.ledger.waiting.appendleft(batch_task(id, part, task.name, task.terms))

    def _take_back(self, number: int, most: int) -> list[int]:
        """Take back what a worker has not begun; return the numbers."""
        member = self.staff.members.get(number)  # None while its end is being dealt with
        numbers: list[int] | None = member.line.take_back(most) if member is not None and most else None
        if member is None or not numbers:
            return []
        self.ledger.take_back(number, numbers)
        limit = self.overtime.limits.get(number)
        if limit is not None and limit.place in numbers:  # the worker was too slow to begin it: it is not its task now
            member.cell.clear()
            self.overtime.end(number)
            self.time(number, time.monotonic())
        return numbers

    def withdraw(self, task: Task) -> None:
        """Have a task not run; interrupt it, if it does."""
        if task.holder is not None:
            number, place = task.holder
            if place in self._take_back(number, len(self.ledger.accounts[number].handed)):
                self.ledger.waiting.withdraw(task)  # it had not begun
            else:
                task.withdrawn = True
                self._interrupt(number, place, CANCELLED, task.terms.grace)
            self.fill(number, time.monotonic())
            self.fill_idle(time.monotonic())
        else:  # it waits, or it is done and its caller has not heard of it yet
            self.ledger.waiting.withdraw(task)

    def withdraw_waiting(self, job: int | None) -> list[Task]:
        """Drop the tasks that nobody has begun, of one job or of all; return them."""
        self._take_all_back()
        dropped = self.ledger.waiting.withdraw_all(lambda task: job is None or task.id[0] == job)
        self.fill_idle(time.monotonic())
        return dropped

    def withdraw_unassigned(self) -> list[Task]:
        """Drop the tasks that no worker runs, as far as callers could see, nor is being started for; return them."""
        run = {head[1].id for number in self.ledger.accounts if (head := self.ledger.head(number)) is not None}
        self._take_all_back()
        waiting = self.ledger.waiting
        dropped = [task for task in waiting if task.id not in run][self.staff.starting() :]
        for task in dropped:
            waiting.withdraw(task)
        self.fill_idle(time.monotonic())
        return dropped

    def _take_all_back(self) -> None:
        for number, account in self.ledger.accounts.items():
            self._take_back(number, len(account.handed))

    def _interrupt(self, number: int, place: int, why: int, grace: float) -> None:
        member = self.staff.members.get(number)
        if member is not None:
            self._begin(number, place, time.monotonic() + grace, hard=True)
            member.interrupt(place, why)

    def overdue(self, number: int, place: int) -> None:
        """Deal with a task whose time is up: raise in it; the second time, kill its worker.

        Called at the place of a note in the queue of results, after all results that came before it: interruption.py.
        """
        limit = self.overtime.limits.get(number)
        member = self.staff.members.get(number)
        if limit is None or limit.place != place or member is None:
            return  # it was done in time
        task = self.ledger.task_at(number, place)
        if task is None:
            self.overtime.end(number)
        elif limit.hard:
            member.verdict = place, out_of_time()
            member.kill()
        else:
            self._interrupt(number, place, TIMED_OUT, task.terms.grace)

    # -- coming and going ------------------------------------------------------------------------------------------

    def leave(self, member: Member) -> None:
        """Send a worker away: what it has not begun is for others."""
        account = self.ledger.accounts.get(member.number)
        if account is not None:
            self._take_back(member.number, len(account.handed))
        self.ledger.leave(member.number)
        self.staff.dismiss(member)
        self.fill_idle(time.monotonic())

    def resize(self, size: int) -> None:
        """Have another number of workers, from now on; those with least to do leave."""
        staff = self.staff
        staff.size = size
        staff.wanted = min(staff.wanted, size) if staff.plan.on_demand else size
        accounts = self.ledger.accounts
        by_load = sorted(
            staff.staying(), key=lambda member: len(accounts[member.number].handed) if member.ready else -1
        )
        for member in by_load[: max(len(by_load) - size, 0)]:
            self.leave(member)

    def stats(self) -> PoolStats:
        """Say how things stand."""
        ledger, tally, staff = self.ledger, self.ledger.tally, self.staff
        return PoolStats(
            workers=len(staff.staying()),
            idle=len(ledger.idle()),
            busy=sum(bool(account.handed) for account in ledger.accounts.values()),
            queued=ledger.backlog(),
            done=tally.done,
            failed=self._jobs.failed,
            retried=tally.retried,
            started=staff.started,
            lost=tally.lost,
            seconds=tally.seconds,
            slowest=tally.slowest,
        )

    # -- the alarm -------------------------------------------------------------------------------------------------

    def next_at(self) -> float:
        """Return when the next task or idle worker has had its time."""
        with self._lock:
            moment = min(self.overtime.next_at(), self._even_at)
            if self.staff.plan.idle_timeout is not None:
                since = [self.ledger.accounts[number].since for number in self.ledger.idle()]
                moment = min(moment, min(since, default=moment) + self.staff.plan.idle_timeout)
            return moment

    def ring(self, now: float) -> None:
        """Note whose time is up, behind all that came before; send idle workers away."""
        with self._lock:
            for number, limit in self.overtime.due(now):
                self.staff.lines.note(number, (OVERDUE, limit.place, 0.0))
            if self._even_at <= now:
                self._even_out(now)
                if self._jobs.settled:  # what could not be sent
                    self.staff.lines.note(0)
            idle_timeout = self.staff.plan.idle_timeout
            if idle_timeout is None:
                return
            for number in self.ledger.idle():
                member = self.staff.members.get(number)
                if self.ledger.accounts[number].since + idle_timeout <= now and member is not None:
                    self.staff.wanted = max(self.staff.wanted - 1, 0)
                    self.leave(member)


def batch_task(id: TaskId, batch: Batch, name: str, terms: Terms) -> Task:
    """Return the task of a batch; `id` is that of its first chunk."""
    packed, _ = pack(batch.message())
    return Task(id, packed, name, batch, terms)
