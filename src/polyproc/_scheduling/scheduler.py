"""The scheduler of a pool: events go in, actions come out.

Each method of `Scheduler` whose name says what has happened is an event. It returns what the engine has to do, in this
order, before the next event (`taken_back` and `batch_split` come in between, as their actions say).

A pool:

| event \\ state        | RUNNING                  | CLOSING                       | TERMINATING           | ENDED    |
|-----------------------|--------------------------|-------------------------------|-----------------------|----------|
| submitted             | waits, is sent           | a source's: the same; others: | terminated            | the same |
|                       |                          | terminated                    |                       |          |
| answered              | outcome, or tried again  | the same                      | ignored, if it was    | ignored  |
|                       |                          |                               | settled at the end    |          |
| reader_wants          | its source may send more | -: it may send all            | -: it was stopped     | -        |
| source_ended          | its reader is told       | the same; perhaps the end     | -: it was stopped     | -        |
| cancelled             | outcome; what runs is interrupted                        | -: all is settled     | -        |
| resized               | workers start or leave   | they leave                    | noted                 | noted    |
| worker_ready, ..ended | see assignments.py; missing workers are started, in      | ENDED with the last   | -        |
|                       | CLOSING as long as calls wait                            | worker                |          |
| tick                  | limits, idle workers, starts that are tried again        | SIGKILL after a grace | -        |
| closing               | CLOSING                  | -                             | -                     | -        |
| terminating           | TERMINATING: what is open is settled, workers are killed | -                     | -        |

CLOSING ends when no call is open and every source has ended: workers are dismissed, and with the last one it is ENDED.
A pool may be broken in RUNNING and CLOSING: what waits, and what comes, gets its error; what runs is still answered.
"""

from __future__ import annotations

from polyproc._scheduling.actions import (
    BY_TIMEOUT,
    CANCELLED,
    ERROR,
    TERMINATED,
    TIMED_OUT,
    Action,
    Interrupt,
    Pull,
)
from polyproc._scheduling.assignments import ASSIGNED, DOOMED, NEVER, STARTING, WAITING, Limit, QueuedTask, WorkerLoad
from polyproc._scheduling.call_events import CLOSING, RUNNING, TERMINATING, CallEvents, is_one_of
from polyproc._scheduling.staffing import StaffingConfig

KILL_GRACE = 1.0  # seconds between SIGTERM and SIGKILL when a pool is terminated


class Scheduler(CallEvents):
    """The calls and the workers of a pool, as pure state.

    Args:
        config: how many workers the pool wants, and when.
        max_tasks: after how many tasks a worker is replaced; None for never.
        max_behind: how many tasks a worker may have at once, at most.
        can_kill: whether workers can be interrupted and killed; threads cannot.
    """

    def __init__(self, config: StaffingConfig, max_tasks: int | None, max_behind: int, can_kill: bool = True) -> None:
        super().__init__(config, max_tasks, max_behind, can_kill)

    # -- workers ---------------------------------------------------------------------------------------------------

    def worker_ready(self, worker_id: int, now: float) -> list[Action]:
        """A worker can work."""
        worker, actions = self.workers.get(worker_id), list[Action]()
        if worker is not None and worker.state is STARTING:
            self.staffing.succeeded()
            self.assignments.join(worker, now)
            self.assignments.fill(worker, now, actions)
            self.assignments.fill_idle(now, actions)
        return actions

    def worker_failed_to_start(
        self, worker_id: int, error: BaseException, now: float, refused: bool = True
    ) -> list[Action]:
        """A worker could not be made: the system `refused` it, which may be another time, or an error says why."""
        worker, actions = self.workers.pop(worker_id, None), list[Action]()
        self.staffing.is_settled = False
        if worker is not None and worker.state is STARTING:
            if not refused:
                if self.staffing.failed(was_killed=False):
                    self._break(error, actions)
            elif self.staffing.refused(now):
                self._fail_waiting(error, actions)
        self._look(now, actions)
        return actions

    def worker_leaves(self, worker_id: int, now: float) -> list[Action]:
        """A worker is to be replaced: it has grown too large."""
        worker, actions = self.workers.get(worker_id), list[Action]()
        if worker is not None:
            self._dismiss(worker, actions)
        self._look(now, actions)
        return actions

    def worker_ended(
        self, worker_id: int, untaken: list[int] | None, error: BaseException, now: float, was_killed: bool = False
    ) -> list[Action]:
        """A worker is gone: what it ran gets the error, or is tried again.

        Args:
            worker_id: the worker.
            untaken: the places of the tasks that it had not begun; None if that cannot be told: all but the first.
            error: how it ended; if it was never ready, why that is.
            now: the time.
            was_killed: whether it was, by whomever.
        """
        worker, actions = self.workers.pop(worker_id, None), list[Action]()
        if worker is None:
            return actions
        was_starting, killed_for = worker.state is STARTING, worker.killed_for
        worker.limit, worker.interrupted = None, 0
        self.assignments.leave(worker, DOOMED)
        self.staffing.is_settled = False
        if untaken is None:
            untaken = [place for place, _ in list(worker.tasks)[1:]]
        # A call whose time was up has had it, even if the worker never came to begin it.
        self._take_back(worker, [place for place in untaken if place != killed_for], actions)
        for place, task in list(worker.tasks):
            self.assignments.remove(worker, [place])
            if task.state is ASSIGNED:
                self._lost(task, place == killed_for, error, actions)
        if was_starting and self.state < TERMINATING and self.staffing.failed(was_killed):
            self._break(error, actions)
        if self.state < TERMINATING:
            self.assignments.fill_idle(now, actions)
        self._look(now, actions)
        return actions

    def _lost(self, task: QueuedTask, was_due: bool, error: BaseException, actions: list[Action]) -> None:
        self.totals.lost += 1
        if was_due:
            self._failed(task, TIMED_OUT, None, task.options.retries_timeouts, actions)
        else:
            self._failed(task, ERROR, error, is_one_of(error, task.options.retry_on), actions)

    def running(self, worker_id: int, untaken: list[int] | None = None) -> QueuedTask | None:
        """Return the task that a worker runs, as far as its answers have told, if it has not begun `untaken`."""
        worker = self.workers.get(worker_id)
        if worker is None:
            return None
        return next((task for place, task in worker.tasks if untaken is None or place not in untaken), None)

    def runs(self, task: QueuedTask) -> bool:
        """Whether a worker runs a task, as far as its answers have told."""
        return task.state is ASSIGNED and self.running(task.worker) is task

    def resized(self, size: int, now: float) -> list[Action]:
        """Another number of workers is wanted; those that are too many leave when they have done what they have."""
        actions: list[Action] = []
        for worker in self.staffing.resize(size):
            self._dismiss(worker, actions)
        if self.state < TERMINATING:
            self.assignments.hand_out(now, actions)
        self._look(now, actions)
        return actions

    def looked(self, now: float) -> list[Action]:
        """Somebody looks how things stand: nothing has happened."""
        return []

    # -- time ------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Action]:
        """It is some time, and all answers that were sent before are known."""
        actions: list[Action] = []
        assignments = self.assignments
        if assignments.first_limit <= now:
            for worker in self.workers.values():
                if worker.limit is not None and worker.limit.at <= now:
                    self._time_is_up(worker, worker.limit, now, actions)
            assignments.first_limit = min(
                (worker.limit.at for worker in self.workers.values() if worker.limit is not None), default=NEVER
            )
        if assignments.even_at <= now:
            assignments.even_out(now, actions)
        actions += self.all_heard(now)
        for worker in self.staffing.idle_too_long(now):
            self._dismiss(worker, actions)
        if self._kill_at <= now:
            self._kill_at = NEVER
            for worker in self.workers.values():
                self._kill(worker, False, actions)
        self._look(now, actions)
        if self.staffing.retry_at <= now:
            self.staffing.retry_at = NEVER  # no worker is wanted any more
        return actions

    def _time_is_up(self, worker: WorkerLoad, limit: Limit, now: float, actions: list[Action]) -> None:
        task = next((task for place, task in worker.tasks if place == limit.place), None)
        worker.limit = None
        if task is None or not self.can_kill:
            return
        if limit.hard:
            worker.killed_for = limit.place
            self._kill(worker, False, actions)
        else:
            worker.interrupted = limit.place
            assignments = self.assignments
            assignments.limit(worker, limit.place, now + task.options.grace, hard=True)
            actions.append(Interrupt(worker.id, limit.place, BY_TIMEOUT))

    # -- end -------------------------------------------------------------------------------------------------------

    def closing(self, now: float) -> list[Action]:
        """No more calls come, but for what sources send; workers end when all are done."""
        actions: list[Action] = []
        if self.state is RUNNING:
            self.state = CLOSING
            actions += [Pull(source, None) for source in self._sources]
            self._look(now, actions)
        return actions

    def terminating(self, now: float, error: BaseException | None = None) -> list[Action]:
        """All ends now: what is open is settled, with an error if something has failed; workers are killed."""
        actions: list[Action] = []
        if self.state >= TERMINATING:
            return actions
        self.state = TERMINATING
        if error is not None and self.error is None:
            self.error = error
        kind = TERMINATED if self.error is None else ERROR
        for task in list(self.open):
            if task.state is WAITING or self.can_kill:
                self._settle(task, kind, self.error, actions)
        self._stop_sources(kind, self.error, actions)
        for worker in self.workers.values():
            self._kill(worker, True, actions)
        if self.can_kill:
            self._kill_at = now + KILL_GRACE
        self._look(now, actions)
        return actions

    def workers_killed(self, gently: bool, now: float) -> list[Action]:
        """The user ends the workers: what they run fails for good, the rest is cancelled, no more calls come."""
        self.was_cut_off = self.was_cut_off or bool(self.open)
        actions = self.closing(now) + self.waiting_cancelled(now)
        self._retries = False
        self._stop_sources(CANCELLED, None, actions)
        for worker in self.workers.values():
            self._kill(worker, gently, actions)
        self._look(now, actions)
        return actions
