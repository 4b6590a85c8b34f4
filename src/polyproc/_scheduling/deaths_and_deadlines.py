"""What a pool does when a worker dies, comes, or cannot be started, and when the time of a call is up.

Also how many workers there are to be (`Staffing`). It is the half of the scheduler that workers and the clock have a
part in; the other half (scheduler.py) says what becomes of calls.
"""

from __future__ import annotations

import collections
import itertools

from polyproc._base.typing import Any, Iterator, NamedTuple
from polyproc._scheduling.actions import (
    BY_TIMEOUT,
    ERROR,
    TIMED_OUT,
    Action,
    ClearInterrupt,
    Dismiss,
    Ended,
    Interrupt,
    Kill,
    ResolvedOptions,
    Send,
    StartWorkers,
    Stop,
)
from polyproc._scheduling.assignments import (
    ASSIGNED,
    DONE,
    DOOMED,
    LEAVING,
    MAX_PLACE,
    NEVER,
    READY,
    STARTING,
    Assignments,
    Limit,
    QueuedTask,
    WorkerLoad,
)

RUNNING, CLOSING, TERMINATING, ENDED = range(4)

# A pool whose workers end this often in a row before they are ready is broken: more would end the same way.
# To be killed is nobody's decision here, and has to happen more often.
MAX_FAILED_STARTS = 3
MAX_KILLED_STARTS = 50
MAX_REFUSED_STARTS = 3  # in a row, without any worker: then what waits fails; later calls try again
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 1.0  # seconds between two tries of what the system has refused
_MAX_ID = 65535
_new_tuple = tuple.__new__  # of a named tuple, without a call of Python's


class StaffingConfig(NamedTuple):
    """What a pool wants to have.

    Attributes:
        size: how many workers, at most.
        on_demand: whether workers start when there is work for them, and not before.
        starts_together: whether all start at the first call, then.
        idle_timeout: after how many seconds without work a worker ends; None for never.
    """

    size: int
    on_demand: bool = False
    starts_together: bool = False
    idle_timeout: float | None = None


class Staffing:
    """The number of workers of a pool, and its failed starts."""

    def __init__(self, config: StaffingConfig, assignments: Assignments) -> None:
        self._assignments = assignments
        self._config = config if config.idle_timeout is None else config._replace(on_demand=True)
        self.size = config.size
        self.has_idle_timeout = config.idle_timeout is not None
        self._wanted = 0 if self._config.on_demand else config.size
        self._ids = itertools.cycle(range(1, _MAX_ID + 1))
        self._failed = self._killed = self._refused = 0
        self.retry_at = NEVER  # when a start that the system refused is tried again
        self.is_settled = False  # whether no worker is missing, as long as none comes or goes

    def staying(self) -> list[WorkerLoad]:
        """Return the workers that are there, or come, and stay."""
        return [worker for worker in self._assignments.workers.values() if worker.state in (STARTING, READY)]

    def start_missing(self, now: float, actions: list[Action]) -> None:
        """Start the workers that are missing: on demand, one for each task that none runs."""
        workers = self._assignments.workers.values()
        if self._config.on_demand and self._wanted < self.size:
            ready = sum(worker.state is READY for worker in workers)
            wanted = ready + self._assignments.backlog()
            if wanted and self._config.starts_together:
                wanted = self.size
            self._wanted = min(self.size, max(self._wanted, wanted))
        missing = self._wanted - sum(worker.state is not LEAVING for worker in workers)
        if missing <= 0:
            self.retry_at = NEVER
            self.is_settled = not self._config.on_demand or self._wanted >= self.size
        elif self.retry_at <= now or self.retry_at == NEVER:
            self.retry_at = NEVER
            actions.append(StartWorkers(tuple(self._new_id() for _ in range(missing))))

    def _new_id(self) -> int:
        workers = self._assignments.workers
        id = next(id for id in self._ids if id not in workers)
        workers[id] = WorkerLoad(id)
        self._assignments.totals.started += 1
        return id

    def resize(self, size: int) -> list[WorkerLoad]:
        """Want another number of workers; return those that are too many: the last to come, then with least to do."""
        self.size = size
        self.is_settled = False
        self._wanted = min(self._wanted, size) if self._config.on_demand else size
        newest_first = reversed(self.staying())  # else one that is soon ready goes each time, and none is ever
        staying = sorted(newest_first, key=lambda worker: len(worker.tasks) if worker.state is READY else -1)
        return staying[: max(len(staying) - size, 0)]

    def idle_too_long(self, now: float) -> list[WorkerLoad]:
        """Return the workers that had nothing to do for too long; as many fewer are wanted."""
        timeout = self._config.idle_timeout
        if timeout is None:
            return []
        found = [worker for worker in self._assignments.idle if worker.since + timeout <= now]
        self.is_settled = False
        self._wanted = max(self._wanted - len(found), 0)
        return found

    def first_idle_end(self) -> float:
        """Return when the next worker will have been idle for too long."""
        timeout = self._config.idle_timeout
        if timeout is None:
            return NEVER
        return min((worker.since + timeout for worker in self._assignments.idle), default=NEVER)

    # -- starts ----------------------------------------------------------------------------------------------------

    def succeeded(self) -> None:
        """Note that a worker is ready."""
        self._failed = self._killed = self._refused = 0

    def failed(self, was_killed: bool) -> bool:
        """Note that a worker ended before it was ready; return whether the pool is broken."""
        if was_killed:
            self._killed += 1
        else:
            self._failed += 1
        return self._failed >= MAX_FAILED_STARTS or self._killed >= MAX_KILLED_STARTS

    def refused(self, now: float) -> bool:
        """Note that the system has refused a worker; return whether calls should not wait for one any more."""
        self._refused += 1
        self._assignments.totals.started -= 1
        self.retry_at = now + min(_FIRST_PAUSE * 2 ** (self._refused - 1), _LAST_PAUSE)
        return self._refused >= MAX_REFUSED_STARTS and not self.staying()


class Source:
    """What brings the tasks of an imap as its reader asks for them."""

    def __init__(self, buffer: int) -> None:
        self.buffer = buffer
        self.sent = 0


class PoolStats(NamedTuple):
    """A pool at one moment.

    Attributes:
        workers: those that are there and stay.
        idle: workers without a task.
        busy: workers with one.
        queued: tasks that no worker runs yet.
        done: tasks that were answered, well or not, each item's or chunk's counted.
        failed: those of them, and of the lost, whose caller got an error.
        retried: attempts beyond a task's first.
        started: workers started since the pool was made.
        lost: workers that died in a task.
        seconds: what the tasks took, all together.
        slowest: the name and the seconds of the task that took longest.
    """

    workers: int
    idle: int
    busy: int
    queued: int
    done: int
    failed: int
    retried: int
    started: int
    lost: int
    seconds: float
    slowest: tuple[str, float]


class Lent:
    """A worker that is lent to callers, one after the other, who hear its answers themselves (docs/adr/0055).

    Attributes:
        worker: it. It is not among those that are idle, whether it has a task or not.
        name: of the function that is called.
        options: of the calls.
        is_all: whether nothing follows from a call but its value.
        times: how many calls have been answered.
        seconds: that they took.
        slowest: the longest.
    """

    def __init__(self, worker: WorkerLoad, name: str, options: ResolvedOptions, is_all: bool) -> None:
        self.worker, self.name, self.options, self.is_all = worker, name, options, is_all
        self.times = 0
        self.seconds = self.slowest = 0.0


class PoolState:
    """The calls and the workers of a pool, and when it ends."""

    def __init__(self, config: StaffingConfig, max_tasks: int | None, max_behind: int, can_kill: bool) -> None:
        self.state = RUNNING
        self.error: BaseException | None = None  # of a pool that is broken
        self.assignments = Assignments(max_tasks, max_behind)
        self.staffing = Staffing(config, self.assignments)
        self.workers = self.assignments.workers
        self.totals = self.assignments.totals
        self.open: dict[QueuedTask, None] = {}  # without an outcome
        self.lent: Lent | None = None  # as long as nothing happens but calls of the same function, one after the other
        self.waits_for_more = False  # whether workers that have nothing wait for `all_heard`
        self._sources: dict[Any, Source] = {}
        self.can_kill = can_kill
        self._kill_at = NEVER
        self._retries = True
        self.was_cut_off = False  # whether the user has ended its workers while calls were open
        # What events have asked for: each one's list, and an iterator over what of it was not performed yet.
        self.unperformed: collections.deque[tuple[list[Action], Iterator[Action]]] = collections.deque()

    # -- to be filled in: what becomes of calls ----------------------------------------------------------------------

    def _begin(self) -> list[Action]:
        """Return the list of an event's actions: known from the first moment, until they have been performed."""
        raise NotImplementedError

    def _settle(
        self, task: QueuedTask, kind: int, value: Any, actions: list[Action], attempts: tuple[int, int] | None = None
    ) -> None:
        """Give a task its outcome."""
        raise NotImplementedError

    def _failed(self, task: QueuedTask, kind: int, value: Any, retry: bool, actions: list[Action]) -> None:
        """Try a task again if its options say so; else settle it."""
        raise NotImplementedError

    def _take_back(self, worker: WorkerLoad, places: list[int], actions: list[Action]) -> None:
        """Put tasks that a worker has not begun back among those that wait."""
        raise NotImplementedError

    def stats(self) -> PoolStats:
        """Return how things stand."""
        assignments, totals = self.assignments, self.totals
        return PoolStats(
            workers=len(self.staffing.staying()),
            idle=len(assignments.idle),
            busy=sum(bool(worker.tasks) for worker in self.workers.values()),
            queued=assignments.backlog(),
            done=totals.done,
            failed=totals.failed,
            retried=totals.retried,
            started=totals.started,
            lost=totals.lost,
            seconds=totals.seconds,
            slowest=totals.slowest,
        )

    # -- workers and the end -----------------------------------------------------------------------------------------

    @property
    def wants_no_more(self) -> bool:
        """Whether no worker will be started any more."""
        return self.state > CLOSING or (self.state is CLOSING and not self.open and not self._sources)

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
        actions.append(Stop(source, self._sources[source].sent, kind, value))
        self._sources.pop(source, None)  # behind that: see `broken_off`

    def _dismiss(self, worker: WorkerLoad, actions: list[Action]) -> None:
        """Send a worker away: what it has not begun is for others."""
        if worker.state in (STARTING, READY):
            self.assignments.leave(worker, LEAVING)
            self.staffing.is_settled = False
            if worker.untaken and len(worker.tasks) > (1 if self.can_kill else 0):
                actions.append(worker.take_back(len(worker.tasks)))
            actions.append(Dismiss(worker.id))

    def _kill(self, worker: WorkerLoad, gently: bool, actions: list[Action]) -> None:
        if self.can_kill:
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
            actions.append(Ended())
            self.state = ENDED
            self._kill_at = self.staffing.retry_at = self.assignments.even_at = NEVER


class WorkerEvents(PoolState):
    """The events of workers, and of time."""

    # -- workers ---------------------------------------------------------------------------------------------------

    def worker_ready(self, worker_id: int, now: float) -> list[Action]:
        """A worker can work."""
        actions, worker = self._begin(), self.workers.get(worker_id)
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
        actions, worker = self._begin(), self.workers.pop(worker_id, None)
        self.staffing.is_settled = False
        if worker is not None and worker.state is STARTING:
            if not refused:
                if self.staffing.failed(was_killed=False):
                    self._break(error, actions)
            elif self.staffing.refused(now):
                self._fail_waiting(error, actions)
        elif worker is not None:  # it was sent away before
            self.totals.started -= 1
        self._look(now, actions)
        return actions

    def worker_leaves(self, worker_id: int, now: float) -> list[Action]:
        """A worker is to be replaced: it has grown too large."""
        actions, worker = self._begin(), self.workers.get(worker_id)
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
        actions, worker = self._begin(), self.workers.pop(worker_id, None)
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

    # -- a worker that is lent to a caller (docs/adr/0055) ------------------------------------------------------------

    def called(self, task: QueuedTask, now: float) -> Send | None:
        """Take a task whose caller waits for nothing else, and hears its worker's answer: no other may be open.

        Returns: what sends it, at once; None if it has to be submitted as others are.
        """
        if self.open:
            return None
        lent = self.lent
        if lent is None or task.name != lent.name or task.options is not lent.options:
            if not self._may_be_called(task.options):
                return None
            lent = self.lent = self._lend(task)
        self.open[task] = None
        worker = lent.worker
        worker.count = place = worker.count % MAX_PLACE + 1
        worker.since = now
        worker.tasks.append((place, task))
        task.state, task.worker, task.load = ASSIGNED, worker.id, worker.load
        return _new_tuple(Send, (worker.id, place, task))

    def _may_be_called(self, options: ResolvedOptions) -> bool:
        if self.lent is not None:
            self._take_in(self.lent)
        assignments, staffing = self.assignments, self.staffing
        if not assignments.idle or self.state is not RUNNING or self.error is not None or not staffing.is_settled:
            return False
        # Else something other than the answer has to be seen in time.
        return not staffing.has_idle_timeout and options.timeout is None and not options.retries

    def _lend(self, task: QueuedTask) -> Lent:
        assignments = self.assignments
        worker = assignments.last = assignments.idle.popitem()[0]  # the one that had a task last
        worker.untaken = worker.chunks = 1
        worker.load = assignments.costs.of(task.name)
        is_all = assignments.max_tasks is None and not assignments._behind and not assignments._batches
        return Lent(worker, task.name, task.options, is_all)

    def returned(self, task: QueuedTask, took: float) -> bool:
        """A task that was `called` has come to a value, which its caller has.

        Returns: whether that is all. Else more follows from it, and nothing was done: it has to be `answered`.
        """
        lent = self.lent
        if lent is None or not lent.is_all or task.state is not ASSIGNED:  # something else has happened since
            return False
        worker = lent.worker
        worker.tasks.clear()
        self.open.clear()
        task.state = DONE
        worker.done += 1
        lent.times += 1
        lent.seconds += took
        if took > lent.slowest:
            lent.slowest = took
        return True

    def _take_in(self, lent: Lent) -> None:
        """Before any other event: what there is of the worker that is lent is as of any other."""
        self.lent, worker, assignments = None, lent.worker, self.assignments
        if not worker.tasks:
            worker.untaken = worker.chunks = 0
            worker.load = 0.0
            assignments.idle[worker] = None
        if lent.times:
            assignments.costs.add(lent.name, lent.seconds / lent.times, lent.times)
            assignments.totals.add(lent.name, lent.seconds, lent.times, lent.slowest)

    # -- time ------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Action]:
        """Do what is due at a time; all answers that were sent before it are known."""
        actions = self._begin()
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
        self._share(now, actions)
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

    def all_heard(self, now: float) -> list[Action]:
        """All that workers have said is known: those that have nothing can get what others have not begun."""
        actions = self._begin()
        self._share(now, actions)
        return actions

    def _share(self, now: float, actions: list[Action]) -> None:
        self.waits_for_more = False
        if self.state < TERMINATING:
            self.assignments.hand_out(now, actions)

    def _in_time(self, worker: WorkerLoad, place: int, actions: list[Action]) -> None:
        """End a worker's limit, and its interruption, if they are for a task that it does not run any more."""
        if worker.limit is not None and worker.limit.place == place:
            worker.limit = None
        if worker.interrupted == place:
            worker.interrupted = 0
            actions.append(ClearInterrupt(worker.id))


def is_one_of(error: Any, kinds: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Whether `except kinds` would catch the error; no code of the user's runs. One that is not opened yet says so."""
    if not isinstance(kinds, tuple):
        kinds = (kinds,)
    if not issubclass(type(error), BaseException):
        return bool(error.is_one_of(kinds))
    return any(type.__subclasscheck__(kind, type(error)) for kind in kinds)
