"""What a scheduler knows: its calls, its workers, and what becomes of a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polyproc._scheduling.actions import (
    ERROR,
    TERMINATED,
    TIMED_OUT,
    Action,
    Dismiss,
    Ended,
    Kill,
    Settle,
    SettleAll,
    Stop,
)
from polyproc._scheduling.assignments import DOOMED, LEAVING, NEVER, READY, STARTING, Assignments, WorkerLoad
from polyproc._scheduling.staffing import Staffing, StaffingConfig
from polyproc._scheduling.tasks import DONE, WAITING, Batch, QueuedTask

RUNNING, CLOSING, TERMINATING, ENDED = range(4)


class Source:
    """What brings the tasks of an imap as its reader asks for them."""

    def __init__(self, buffer: int) -> None:
        self.buffer = buffer
        self.sent = 0


class PoolState:
    """The calls and the workers of a pool, and what becomes of them."""

    def __init__(self, config: StaffingConfig, max_tasks: int | None, max_behind: int, can_kill: bool) -> None:
        self.state = RUNNING
        self.error: BaseException | None = None  # of a pool that is broken
        self.assignments = Assignments(max_tasks, max_behind)
        self.staffing = Staffing(config, self.assignments)
        self.workers = self.assignments.workers
        self.totals = self.assignments.totals
        self.open: dict[QueuedTask, None] = {}  # without an outcome
        self.waits_for_more = False  # whether workers that have nothing wait for `all_heard`
        self._sources: dict[Any, Source] = {}
        self._can_kill = can_kill
        self._kill_at = NEVER
        self._retries = True

    def _settle(
        self, task: QueuedTask, kind: int, value: Any, actions: list[Action], attempts: tuple[int, int] | None = None
    ) -> None:
        """Give a task its outcome. One that a worker has stays there until the worker is done with it."""
        self.open.pop(task, None)
        job, count, was_waiting = task.job, task.count, task.state is WAITING
        self.totals.failed += kind in (ERROR, TIMED_OUT)
        if count == 1:
            actions.append(Settle(job, task.index, kind, value, attempts))
        else:
            actions += [Settle(job, index, kind, value, attempts) for index in range(task.index, task.index + count)]
        if was_waiting:
            self.assignments.pending.remove(task)
            task.job = task.payload = task.batch = None  # what is left of it keeps nothing alive
        task.state = DONE

    def _settle_batch(self, task: QueuedTask, outcomes: Sequence[tuple[bool, Any]], actions: list[Action]) -> None:
        batch = task.batch
        assert batch is not None  # it was answered as one
        actions.append(SettleAll(task.job, task.index, outcomes))
        self.totals.failed += [success for success, _ in outcomes].count(False)
        self.open.pop(task, None)
        task.state = DONE
        if batch.start + len(outcomes) < batch.stop:  # it took too long for a batch
            self._open_parts(task, batch._replace(start=batch.start + len(outcomes)), actions)

    def _open_parts(self, task: QueuedTask, rest: Batch, actions: list[Action]) -> None:
        """Let the rest of a batch wait, before all others, in as many parts as there are workers."""
        assert task.batch is not None  # it was one
        index = task.index + rest.start - task.batch.start
        for part in reversed(rest.parts(max(len(self.workers), 1))):
            made = QueuedTask(task.job, index + part.start - rest.start, None, task.name, task.options, part)
            made.drop = task.drop
            self.open[made] = None
            self._wait_again(made, actions)

    def _wait_again(self, task: QueuedTask, actions: list[Action]) -> None:
        """Let a task wait that a worker has not begun, before all others; or settle it, if nothing is to be begun."""
        if task.drop:
            self._settle(task, task.drop, None, actions)
        elif self.error is not None:
            self._settle(task, ERROR, self.error, actions)
        elif self.state >= TERMINATING:
            self._settle(task, TERMINATED, None, actions)
        else:
            self.assignments.pending.appendleft(task)

    def _failed(self, task: QueuedTask, kind: int, value: Any, retry: bool, actions: list[Action]) -> None:
        """Try a task again if its options say so; else settle it."""
        retries = task.options.retries
        if not retries or not self._retries or self.error is not None or self.state >= TERMINATING:
            self._settle(task, kind, value, actions)
        elif retry and task.attempt <= retries:
            task.attempt += 1
            self.totals.retried += 1
            self.assignments.pending.append(task)
        else:
            self._settle(task, kind, value, actions, (task.attempt, retries + 1))

    def _break(self, error: BaseException, actions: list[Action]) -> None:
        """Fail what waits, and what comes: no worker can be started."""
        if self.error is None:
            self.error = error
        self._fail_waiting(self.error, actions)
        self._stop_sources(ERROR, self.error, actions)

    def _fail_waiting(self, error: BaseException, actions: list[Action]) -> None:
        for task in list(self.assignments.pending):
            self._settle(task, ERROR, error, actions)

    def _stop_sources(self, kind: int, value: Any, actions: list[Action]) -> None:
        for source in list(self._sources):
            self._stop(source, kind, value, actions)

    def _stop(self, source: Any, kind: int, value: Any, actions: list[Action]) -> None:
        actions.append(Stop(source, self._sources.pop(source).sent, kind, value))

    def _dismiss(self, worker: WorkerLoad, actions: list[Action]) -> None:
        """Send a worker away: what it has not begun is for others."""
        if worker.state in (STARTING, READY):
            self.assignments.leave(worker, LEAVING)
            self.staffing.is_settled = False
            if worker.untaken and len(worker.tasks) > (1 if self._can_kill else 0):
                actions.append(worker.take_back(len(worker.tasks)))
            actions.append(Dismiss(worker.id))

    def _kill(self, worker: WorkerLoad, gently: bool, actions: list[Action]) -> None:
        if self._can_kill:
            self.assignments.leave(worker, DOOMED)
            self.staffing.is_settled = False
            actions.append(Kill(worker.id, gently))
        else:
            self._dismiss(worker, actions)

    def _look(self, now: float, actions: list[Action]) -> None:
        """Start workers that are missing, and see whether this is the end."""
        if self.state is RUNNING:
            if not self.staffing.is_settled and self.error is None:
                self.staffing.start_missing(now, actions)
            return
        if self.state is CLOSING:
            if not self.open and not self._sources:
                for worker in self.workers.values():
                    self._dismiss(worker, actions)
            elif self.error is None:
                self.staffing.start_missing(now, actions)
                return
        if self.state is not ENDED and not self.workers and not self._sources and not self.open:
            self.state = ENDED
            self._kill_at = self.staffing.retry_at = self.assignments.even_at = NEVER
            actions.append(Ended())


def is_one_of(error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Whether `except kinds` would catch the error; no code of the user's runs."""
    if not isinstance(kinds, tuple):
        kinds = (kinds,)
    return any(type.__subclasscheck__(kind, type(error)) for kind in kinds)
