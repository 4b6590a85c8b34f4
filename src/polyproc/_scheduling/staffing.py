"""How many workers a pool wants, and what it does about those that cannot be started."""

from __future__ import annotations

import itertools

from polyproc._base.typing import NamedTuple
from polyproc._scheduling.actions import Action, StartWorkers
from polyproc._scheduling.assignments import LEAVING, NEVER, READY, STARTING, Assignments, WorkerLoad

# A pool whose workers end this often in a row before they are ready is broken: more would end the same way.
# To be killed is nobody's decision here, and has to happen more often.
MAX_FAILED_STARTS = 3
MAX_KILLED_STARTS = 50
MAX_REFUSED_STARTS = 3  # in a row, without any worker: then what waits fails; later calls try again
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 1.0  # seconds between two tries of what the system has refused
_MAX_ID = 65535


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
        """Want another number of workers; return those that are too many, with least to do."""
        self.size = size
        self.is_settled = False
        self._wanted = min(self._wanted, size) if self._config.on_demand else size
        staying = sorted(self.staying(), key=lambda worker: len(worker.tasks) if worker.state is READY else -1)
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
