"""The scheduler of a pool: events go in, actions come out.

Each method of `Scheduler` whose name says what has happened is an event. It returns what the engine has to do, in this
order, before the next event (`taken_back` and `batch_split` come in between, as their actions say).

A pool:

| event \\ state        | RUNNING                  | CLOSING                       | TERMINATING           | ENDED    |
|-----------------------|--------------------------|-------------------------------|-----------------------|----------|
| submitted             | waits, is sent           | a source's: the same; others: | terminated            | the same |
|                       |                          | terminated                    |                       |          |
| called                | sent, or to be submitted | to be submitted               | the same              | the same |
| returned              | done, or to be answered  | to be answered                | the same              | the same |
| answered, .._each     | outcome, or tried again  | the same                      | ignored, if it was    | ignored  |
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
| broken_off            | the same, in whatever state the broken event has left it | the same              | the same |

CLOSING ends when no call is open and every source has ended: workers are dismissed, and with the last one it is ENDED.
A pool may be broken in RUNNING and CLOSING: what waits, and what comes, gets its error; what runs is still answered.
"""

from __future__ import annotations

import collections
from _operator import length_hint

from polyproc._base.typing import Any, Iterable, Iterator, Sequence
from polyproc._scheduling.actions import (
    BY_CANCELLING,
    CANCELLED,
    ERROR,
    TERMINATED,
    TIMED_OUT,
    VALUE,
    WITHDRAWN,
    Action,
    Dismiss,
    Ended,
    Interrupt,
    Kill,
    Pull,
    Settle,
    SettleAll,
    SettleEach,
    SplitBatch,
    Stop,
    TakeBack,
)
from polyproc._scheduling.assignments import (
    ASSIGNED,
    DONE,
    DOOMED,
    LEAVING,
    NEVER,
    STARTING,
    WAITING,
    WAKING,
    Batch,
    PendingTasks,
    QueuedTask,
    WorkerLoad,
)
from polyproc._scheduling.deaths_and_deadlines import (
    CLOSING,
    RUNNING,
    TERMINATING,
    Source,
    StaffingConfig,
    WorkerEvents,
    is_one_of,
)

KILL_GRACE = 1.0  # seconds between SIGTERM and SIGKILL when a pool is terminated
_FAILURES = ERROR, TIMED_OUT
_LASTING = {Settle, SettleAll, SettleEach, Pull, Stop, Kill, Dismiss, Ended}  # what is still to be done when all ends
_new_tuple = tuple.__new__  # of a named tuple, without a call of Python's


def _settled_by(action: Action) -> Iterator[tuple[int, int]]:
    """Yield the chunks, each with its job, whose outcomes an action hands on."""
    if type(action) is Settle:
        yield id(action.job), action.chunk
    elif type(action) is SettleAll:
        for number in range(len(action.outcomes)):
            yield id(action.job), action.first + number
    elif type(action) is SettleEach:
        for job, chunk, _ in action.values:
            yield id(job), chunk


class CallState(WorkerEvents):
    """What becomes of calls."""

    def _begin(self) -> list[Action]:
        if self.lent is not None:
            self._take_in(self.lent)
        actions: list[Action] = []
        self.unperformed.append((actions, iter(actions)))
        return actions

    def next_tick(self) -> float:
        """Return when `tick` has to be called, at the latest; infinity for never."""
        assignments = self.assignments
        moment = min(assignments.first_limit, assignments.even_at, self._kill_at, self.staffing.retry_at)
        if assignments.idle and self.staffing.has_idle_timeout:
            moment = min(moment, self.staffing.first_idle_end())
        return moment

    def can_wait(self, name: str) -> bool:
        """Whether a call that comes now may as well come a moment later, with others."""
        assignments = self.assignments
        if not self.staffing.is_settled or self.state is not RUNNING or self.error is not None:
            return False
        if not assignments.idle:
            return self.lent is None or bool(self.lent.worker.tasks)  # else it has nothing to do, as those in `idle`
        known, last = assignments.costs.known.get(name), assignments.last  # one that is awake gets it sooner
        return known is not None and known[0] < WAKING and last is not None and len(last.tasks) > 1

    def _settle(
        self, task: QueuedTask, kind: int, value: Any, actions: list[Action], attempts: tuple[int, int] | None = None
    ) -> None:
        """Give a task its outcome. One that a worker has stays there until the worker is done with it."""
        job, index, was_waiting = task.job, task.index, task.state is WAITING
        task.state = DONE  # in this order: see `broken_off`
        if kind in _FAILURES:
            self.totals.failed += 1
        if task.batch is None:
            actions.append(_new_tuple(Settle, (job, index, kind, value, attempts)))
        else:
            actions += [Settle(job, i, kind, value, attempts) for i in range(index, index + task.count)]
        self.open.pop(task, None)
        if was_waiting:
            self.assignments.pending.remove(task)
            task.job = task.payload = task.batch = None  # what is left of it keeps nothing alive

    def _settle_batch(self, task: QueuedTask, outcomes: Sequence[tuple[bool, Any]], actions: list[Action]) -> None:
        batch = task.batch
        assert batch is not None  # it was answered as one
        actions.append(SettleAll(task.job, task.index, outcomes))
        self.totals.failed += len([None for success, _ in outcomes if not success])
        task.state = DONE
        if batch.start + len(outcomes) < batch.stop:  # it took too long for a batch
            self._open_parts(task, batch._replace(start=batch.start + len(outcomes)), actions)
        self.open.pop(task, None)  # behind all that: see `broken_off`

    def _open_parts(self, task: QueuedTask, rest: Batch, actions: list[Action]) -> None:
        """Put the rest of a batch before all waiting tasks, in as many parts as there are workers."""
        assert task.batch is not None  # it was one
        index = task.index + rest.start - task.batch.start
        for part in reversed(rest.parts(max(len(self.workers), 1))):
            made = QueuedTask(task.job, index + part.start - rest.start, None, task.name, task.options, part)
            made.drop = task.drop
            self.open[made] = None
            self._wait_again(made, actions)

    def _wait_again(self, task: QueuedTask, actions: list[Action]) -> None:
        """Put a task that a worker has not begun before all waiting ones; or settle it, if nothing is to be begun."""
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

    def _go_on(self, workers: Iterable[WorkerLoad], now: float, more: bool, actions: list[Action]) -> None:
        """Give workers that have answered more to do."""
        assignments = self.assignments
        for worker in workers:
            if worker.tasks and worker.tasks[0][1].options.timeout is not None:
                assignments.begin_time(worker, now)
            if assignments.max_tasks is not None and assignments.is_spent(worker):
                self._dismiss(worker, actions)
            if assignments.pending.count:
                assignments.fill(worker, now, actions)
        if more:
            self.waits_for_more = True
        elif assignments.idle:
            assignments.fill_idle(now, actions)
        if self.state or not self.staffing.is_settled:
            self._look(now, actions)

    def _drop_waiting(self, unseen: bool, actions: list[Action]) -> None:
        workers = self.workers.values()
        heads = {worker.tasks[0][1] for worker in workers if worker.tasks} if unseen else set()
        dropped = [task for task in self.open if task not in heads]
        if unseen:
            starting = sum(worker.state is STARTING for worker in workers)
            kept = list(self.assignments.pending)[:starting]
            dropped = [task for task in dropped if task not in kept]
        self._drop(dropped, CANCELLED, False, actions)

    def _drop(self, tasks: list[QueuedTask], kind: int, running: bool, actions: list[Action]) -> None:
        touched: dict[int, None] = {}
        for task in tasks:
            if task.worker:
                touched[task.worker] = None
            if task.state is WAITING or (running and task.batch is None):
                self._settle(task, kind, None, actions)
            elif task.state is ASSIGNED:
                task.drop = kind
                if running:
                    actions.append(SplitBatch(task.worker, self.workers[task.worker].tasks[0][0]))
        workers = (self.workers[id] for id in touched if id in self.workers)
        actions += [worker.take_back(len(worker.tasks)) for worker in workers]


class CallEvents(CallState):
    """The events of calls, and of the sources that bring the calls of an imap."""

    # -- calls -----------------------------------------------------------------------------------------------------

    def submitted(self, tasks: Sequence[QueuedTask], now: float, source: Any = None, sent: int = 0) -> list[Action]:
        """Take tasks. Those of a source come with how many chunks it has `sent`, with these."""
        actions = self._begin()
        if source is not None:
            if source not in self._sources:
                return actions  # it was stopped: its reader knows how many there are
            self._sources[source].sent = sent
        if self.error is not None or self.state >= TERMINATING or (self.state and source is None):
            for task in tasks:
                self._settle(task, TERMINATED if self.error is None else ERROR, self.error, actions)
            return actions
        pending = self.assignments.pending
        has_enough = pending.count > 0 and not self.assignments.idle
        self.open.update(dict.fromkeys(tasks))
        pending.extend(tasks)
        if not has_enough:
            self.assignments.hand_out(now, actions)
        if not self.staffing.is_settled:
            self._look(now, actions)
        return actions

    def answered(
        self,
        worker_id: int,
        outcomes: Sequence[tuple[bool, Any]],
        now: float,
        took: float | None = None,
        more: bool = False,
    ) -> list[Action]:
        """A worker has answered its oldest task.

        Args:
            worker_id: the worker.
            outcomes: for each chunk whether it is a value, and it or the error; of a batch, perhaps not of all.
            now: the time.
            took: the seconds that it took by the worker's own clock, if it has said.
            more: whether other messages are there already: then it is not known yet which worker has what, and
                `all_heard` has to follow when there are none, whatever they are.
        """
        actions, worker = self._begin(), self.workers.get(worker_id)
        if worker is None or not worker.tasks:
            return actions
        assignments = self.assignments
        place, task = assignments.answered(worker, now, took, len(outcomes))
        if worker.limit is not None or worker.interrupted:
            self._in_time(worker, place, actions)
        if task.state is ASSIGNED:
            if task.batch is not None:
                self._settle_batch(task, outcomes, actions)
            elif outcomes[0][0]:
                self._settle(task, VALUE, outcomes[0][1], actions)
            else:
                error, options = outcomes[0][1], task.options
                retry = options.retries > 0 and is_one_of(error, options.retry_on)
                self._failed(task, ERROR, error, retry, actions)
        self._go_on([worker], now, more, actions)
        return actions

    def answered_each(self, answers: Sequence[tuple[int, Any, float]], now: float, more: bool = False) -> list[Action]:
        """Workers have answered their oldest tasks, each of one call, in this order: (worker, value, seconds)."""
        actions, values = self._begin(), list[tuple[Any, int, Any]]()
        actions.append(SettleEach(values))
        workers: dict[WorkerLoad, None] = {}
        for worker, place, task, value in self.assignments.answered_each(answers, now):
            workers[worker] = None
            if worker.limit is not None or worker.interrupted:
                self._in_time(worker, place, actions)
            if task.state is ASSIGNED and task.batch is None:
                task.state = DONE  # in this order: see `broken_off`
                values.append((task.job, task.index, value))
                self.open.pop(task, None)
            elif task.state is ASSIGNED:
                self._settle_batch(task, [(True, value)], actions)
        self._go_on(workers, now, more, actions)
        return actions

    def not_sent(self, worker_id: int, place: int, error: BaseException, now: float) -> list[Action]:
        """A task could not be sent."""
        actions, worker = self._begin(), self.workers.get(worker_id)
        for task in () if worker is None else self.assignments.remove(worker, [place]):
            self._in_time(worker, place, actions)  # type: ignore[arg-type]  # it had the task
            if task.state is ASSIGNED:
                self._settle(task, ERROR, error, actions)
        self.assignments.fill_idle(now, actions)
        self._look(now, actions)
        return actions

    def taken_back(self, asked: TakeBack, places: list[int], has_more: bool, now: float) -> list[Action]:
        """Tasks that a worker had not begun are taken back.

        If it has none left, it has begun all that it was sent; if it has, and less than was `asked` for came back, it
        could not be asked for them now.
        """
        actions, worker = self._begin(), self.workers.get(asked.worker)
        if worker is None:
            return actions
        self._take_back(worker, places, actions)
        self.assignments.ask_again(worker, max(asked.most - len(places), 0) if has_more else 0, now)
        if not has_more:
            worker.untaken = worker.sent_after(asked.last)
            self._note_begun(worker, now, actions)
        if worker.limit is None:
            self.assignments.begin_time(worker, now)
        if self.state < TERMINATING:
            self.assignments.fill_idle(now, actions)
            self.assignments.hand_out(now, actions)
        self._look(now, actions)
        return actions

    def _take_back(self, worker: WorkerLoad, places: list[int], actions: list[Action]) -> None:
        for task in reversed(self.assignments.remove(worker, places)):
            if task.state is ASSIGNED:
                self._wait_again(task, actions)
        for place in places:
            self._in_time(worker, place, actions)

    def _note_begun(self, worker: WorkerLoad, now: float, actions: list[Action]) -> None:
        """Note which tasks a worker has begun, of which it runs the last one; interrupt that, if it was cancelled."""
        begun = list(worker.tasks)[: len(worker.tasks) - worker.untaken]
        for _, task in begun:
            task.drop = 0
        if not begun or begun[-1][1].state is not DONE or not self.can_kill or self.state >= TERMINATING:
            return
        place, task = begun[-1]
        if worker.interrupted == place:
            return
        worker.interrupted = place
        self.assignments.limit(worker, place, now + task.options.grace, hard=True)
        actions.append(Interrupt(worker.id, place, BY_CANCELLING))

    def batch_split(self, worker_id: int, place: int, begun: int | None, now: float) -> list[Action]:
        """A worker has begun so many chunks of its batch, and begins no other; None if it is elsewhere."""
        actions, worker = self._begin(), self.workers.get(worker_id)
        if worker is None or begun is None or not worker.tasks or worker.tasks[0][0] != place:
            return actions
        found = self.assignments.split(worker, begun)
        if found is not None:
            (task, rest), whole = found, found[0].batch
            assert whole is not None  # it was one
            if task.state is ASSIGNED:
                self._open_parts(task, rest, actions)
            task.batch = whole._replace(stop=rest.start)  # behind that: see `broken_off`
            if task.state is ASSIGNED:
                self.assignments.fill_idle(now, actions)
        self._look(now, actions)
        return actions

    # -- cancelling ------------------------------------------------------------------------------------------------

    def cancelled(self, task: QueuedTask, now: float) -> list[Action]:
        """Nobody wants a call any more: it does not begin, or is interrupted."""
        actions = self._begin()
        if task in self.open:
            self._settle(task, CANCELLED, None, actions)
            self._undo(task, actions)
            self._look(now, actions)
        return actions

    def _undo(self, task: QueuedTask, actions: list[Action]) -> None:
        worker = self.workers.get(task.worker)
        if worker is not None:
            actions.append(worker.take_back(len(worker.tasks)))

    def job_cancelled(self, job: Any, now: float, kind: int = CANCELLED, running: bool = False) -> list[Action]:
        """Nobody wants the rest of a job: what no worker runs; what runs, too, if `running`."""
        actions = self._begin()
        self._drop([task for task in self.open if task.job is job], kind, running, actions)
        self._look(now, actions)
        return actions

    def waiting_cancelled(self, now: float, unseen: bool = False) -> list[Action]:
        """Cancel all that no worker runs; with `unseen`, keep what a worker is being started for."""
        actions = self._begin()
        self._drop_waiting(unseen, actions)
        self._look(now, actions)
        return actions

    # -- sources ---------------------------------------------------------------------------------------------------

    def source_opened(self, source: Any, buffer: int, now: float) -> list[Action]:
        """An imap begins: its source may send `buffer` chunks more than its reader has given back."""
        actions = self._begin()
        self._sources[source] = Source(buffer)
        if self.state is RUNNING and self.error is None:
            actions.append(Pull(source, buffer))
            return actions
        self._stop(source, TERMINATED if self.error is None else ERROR, self.error, actions)
        return actions

    def reader_wants(self, source: Any, finished: int, now: float) -> list[Action]:
        """The reader of a source has given back so many chunks."""
        actions, found = self._begin(), self._sources.get(source)
        if found is not None and self.state is RUNNING:
            actions.append(Pull(source, found.buffer + finished))
        return actions

    def chunk_refused(self, source: Any, job: Any, chunk: int, error: BaseException, now: float) -> list[Action]:
        """A source cannot send its next chunk; all before it were submitted."""
        actions = self._begin()
        if source in self._sources:
            self._sources[source].sent = chunk + 1
            actions.append(Settle(job, chunk, ERROR, error))
        return actions

    def source_ended(self, source: Any, sent: int, now: float, error: BaseException | None = None) -> list[Action]:
        """A source has sent all that it had, or has failed."""
        actions = self._begin()
        if source in self._sources:
            self._sources[source].sent = sent
            self._stop(source, VALUE if error is None else ERROR, error, actions)
            self._look(now, actions)
        return actions

    def source_closed(self, source: Any, job: Any, now: float) -> list[Action]:
        """The reader of a source wants no more than what has begun."""
        actions = self._begin()
        if source in self._sources:
            self._stop(source, WITHDRAWN, None, actions)
        self._drop([task for task in self.open if task.job is job], WITHDRAWN, False, actions)
        self._look(now, actions)
        return actions


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

    def resized(self, size: int, now: float) -> list[Action]:
        """Another number of workers is wanted; those that are too many leave when they have done what they have."""
        actions = self._begin()
        for worker in self.staffing.resize(size):
            self._dismiss(worker, actions)
        if self.state < TERMINATING:
            self.assignments.hand_out(now, actions)
        self._look(now, actions)
        return actions

    def looked(self, now: float) -> list[Action]:
        """Somebody looks how things stand: nothing has happened."""
        return self._begin()

    # -- end -------------------------------------------------------------------------------------------------------

    def closing(self, now: float) -> list[Action]:
        """No more calls come, but for what sources send; workers end when all are done."""
        actions = self._begin()
        self._close(now, actions)
        return actions

    def _close(self, now: float, actions: list[Action]) -> None:
        if self.state is RUNNING:
            self.state = CLOSING
            actions += [Pull(source, None) for source in self._sources]
            self._look(now, actions)

    def terminating(self, now: float, error: BaseException | None = None) -> list[Action]:
        """All ends now: what is open is settled, with an error if something has failed; workers are killed."""
        actions = self._begin()
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

    def broken_off(self, now: float, error: BaseException) -> list[Action]:
        """An event, or what it has asked for, was broken off by an exception: what was settled is kept, all else ends.

        Of what was to be performed only outcomes, and what ends something, are left. What is open and is not among
        those outcomes gets the error. It can be broken off itself, and be called again.
        """
        actions: list[Action] = []
        for found, rest in self.unperformed:
            actions += [action for action in found[len(found) - length_hint(rest) :] if type(action) in _LASTING]
        settled = {key for action in actions for key in _settled_by(action)}
        for task in self.open:
            for chunk in range(task.index, task.index + task.count):
                if (id(task.job), chunk) not in settled:
                    settled.add((id(task.job), chunk))
                    actions.append(Settle(task.job, chunk, ERROR, error))
            task.state = DONE
        stopped = {id(action.source) for action in actions if type(action) is Stop}
        for source, known in self._sources.items():
            if id(source) not in stopped:
                actions.append(Stop(source, known.sent, ERROR, error))
        for worker in self.workers.values():
            self.assignments.leave(worker, DOOMED if self.can_kill else LEAVING)
            actions.append(Kill(worker.id, True) if self.can_kill else Dismiss(worker.id))
        pending = PendingTasks()
        self._kill_at = now + KILL_GRACE if self.can_kill else NEVER
        self.error = self.error or error
        unperformed = collections.deque([(actions, iter(actions))])
        # From here on nothing is called: all of it is so, or nothing.
        self.state = max(self.state, TERMINATING)
        self.unperformed, self.open, self._sources, self.assignments.pending = unperformed, {}, {}, pending
        self.lent = None
        self._look(now, actions)
        return actions

    def workers_killed(self, gently: bool, now: float) -> list[Action]:
        """The user ends the workers: what they run fails for good, the rest is cancelled, no more calls come."""
        actions = self._begin()
        self.was_cut_off = self.was_cut_off or bool(self.open)
        self._close(now, actions)
        self._drop_waiting(False, actions)
        self._retries = False
        self._stop_sources(CANCELLED, None, actions)
        for worker in self.workers.values():
            self._kill(worker, gently, actions)
        self._look(now, actions)
        return actions
