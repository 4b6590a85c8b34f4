"""Tasks: those that wait, which worker has which, and who gets the next one.

A worker runs what it was sent in order. So an answer belongs to the oldest task that it has, and when it dies, at most
one of those that it had begun has no answer: the one that it ran.

A worker:

| event \\ state   | STARTING             | READY                  | LEAVING                | DOOMED                 |
|------------------|----------------------|------------------------|------------------------|------------------------|
| worker_ready     | READY, gets work     | ignored                | ignored                | ignored                |
| answered         | ignored: it has none | outcome; gets more     | outcome                | outcome                |
| taken_back       | none were            | they wait again        | they wait again        | they wait again        |
| time is up, once | -                    | the call is interrupted| the call is interrupted| -                      |
| time is up again | -                    | DOOMED                 | DOOMED                 | -                      |
| dismissed        | LEAVING              | LEAVING                | -                      | -                      |
| failed_to_start  | gone, tried again    | ignored                | gone                   | gone                   |
| stopped          | DOOMED               | DOOMED, the rest waits | DOOMED, the rest waits | DOOMED, the rest waits |
| ended            | gone, a failed start | gone, its call is lost | gone, its call is lost | gone, its call is lost |

A LEAVING worker is replaced at once, a DOOMED one when it has ended; in a pool that closes, only for calls that wait.
"""

from __future__ import annotations

import collections
import itertools

from polyproc._base.typing import Any, Iterable, Iterator, NamedTuple, Sequence
from polyproc._scheduling.actions import Action, ResolvedOptions, Send, SendAll, SplitBatch, TakeBack

# A task is new until it is submitted; then no worker has it, or a worker has it, until its outcome is known. A worker
# may still run one that is done.
NEW, WAITING, ASSIGNED, DONE = "new", "waiting", "assigned", "done"

RUN, CLOSE, TERMINATE = "RUN", "CLOSE", "TERMINATE"  # states of a pool, by the names that its users see
STARTING, READY, LEAVING, DOOMED = "starting", "ready", "leaving", "doomed"


NEVER = float("inf")
_new_tuple = tuple.__new__  # of a named tuple, without a call of Python's
MIN_TASKS, MAX_TASKS = 2, 64  # how many tasks a worker may have, the running one among them
MAX_PLACE = 65535  # a worker's tasks are numbered from 1 to this, and again
_SLOW = 0.02  # seconds that a task runs before it is not worth waiting behind it
_UNEVEN = 0.004  # seconds until it is looked again whether a worker has nothing while a task waits behind another
LONG_CALL = 0.002  # seconds of work that a worker should have at hand; what an unknown call is taken to last
WAKING = 0.0001  # seconds of work that are done sooner by a worker that is awake than by one that has to be woken
_LEAST = 1e-6  # seconds that a task takes, at least
_WEIGHT = 0.1  # of a new measurement, at least
_MAX_NAMES = 1000


class Batch(NamedTuple):
    """Chunks of one map that travel together, since each takes less than sending it: start to stop of `chunks`."""

    function: bytes
    kind: int
    start: int
    stop: int
    chunks: bytes

    def parts(self, most: int) -> list[Batch]:
        """Return it in up to `most` parts."""
        count = self.stop - self.start
        most = min(count, most)
        bounds = [self.start + count * part // most for part in range(most + 1)]
        return [self._replace(start=first, stop=last) for first, last in itertools.pairwise(bounds)]


class QueuedTask:
    """A call, a chunk of a map, or a batch of chunks.

    Attributes:
        job: what its outcome goes to; the scheduler only hands it on.
        index: its number in the job; of a batch, that of its first chunk.
        payload: what is sent to a worker; None for a batch, which is packed when it is sent.
        name: the function's name, by which its cost is guessed.
        attempt: 1, and one more for each retry.
        state: NEW, WAITING, ASSIGNED or DONE.
        worker: the id of the worker that has it.
        load: how many seconds it takes, as it seemed when it was assigned.
        drop: the kind of outcome that it gets if its worker gives it back; 0 for none.
        parts: how many workers have ended with a part of its message.
    """

    __slots__ = (
        "attempt",
        "batch",
        "drop",
        "index",
        "job",
        "load",
        "name",
        "options",
        "parts",
        "payload",
        "state",
        "worker",
    )

    def __init__(
        self, job: Any, index: int, payload: Any, name: str, options: ResolvedOptions, batch: Batch | None = None
    ) -> None:
        self.job = job
        self.index = index
        self.payload = payload
        self.name = name
        self.options = options
        self.batch = batch
        self.attempt = 1
        self.state = NEW
        self.worker = 0
        self.load = 0.0
        self.drop = self.parts = 0

    @property
    def count(self) -> int:
        """How many chunks of its job it is."""
        return 1 if self.batch is None else self.batch.stop - self.batch.start


class PendingTasks:
    """A queue for each priority that occurs; a task that is removed stays in its place until its turn comes.

    Attributes:
        count: how many there are.
    """

    def __init__(self) -> None:
        self._plain: collections.deque[QueuedTask] = collections.deque()  # those of the commonest priority, 0
        self._queues: dict[int, collections.deque[QueuedTask]] = {0: self._plain}
        self._priorities = [0]
        self.count = 0

    def __iter__(self) -> Iterator[QueuedTask]:
        for priority in self._priorities:
            for task in self._queues[priority]:
                if task.state is WAITING:
                    yield task

    def extend(self, tasks: Iterable[QueuedTask]) -> None:
        """Add tasks, each behind those of its priority."""
        for task in tasks:
            task.state = WAITING
            self.count += 1
            if task.options.priority:
                self._queue_of(task).append(task)
            else:
                self._plain.append(task)

    def append(self, task: QueuedTask) -> None:
        """Add a task behind those of its priority."""
        self.extend((task,))

    def appendleft(self, task: QueuedTask) -> None:
        """Add a task before those of its priority."""
        task.state = WAITING
        self.count += 1
        self._queue_of(task).appendleft(task)

    def first(self) -> QueuedTask:
        """Return the next task, which stays. Raises IndexError."""
        for priority in self._priorities:
            queue = self._queues[priority]
            while queue:
                if queue[0].state is WAITING:
                    return queue[0]
                queue.popleft()
        raise IndexError("nothing waits")

    def popleft(self) -> QueuedTask:
        """Take the next task: it is assigned. Raises IndexError."""
        for priority in self._priorities:
            queue = self._queues[priority]
            while queue:
                task = queue.popleft()
                if task.state is WAITING:
                    task.state = ASSIGNED
                    self.count -= 1
                    return task
        raise IndexError("nothing waits")

    def remove(self, task: QueuedTask) -> None:
        """Take a task out of its place: it is done."""
        task.state = DONE
        self.count -= 1

    def _queue_of(self, task: QueuedTask) -> collections.deque[QueuedTask]:
        priority = task.options.priority
        if priority not in self._queues:
            self._queues[priority] = collections.deque()
            self._priorities = sorted(self._queues, reverse=True)
        return self._queues[priority]


class Costs:
    """Seconds that a chunk takes, by its function's name, and from how many measurements that is known."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[float, int]] = {}

    def of(self, name: str) -> float:
        """Return the seconds; for an unknown name, those of a long call."""
        known = self.known.get(name)
        return LONG_CALL if known is None else known[0]

    def add(self, name: str, seconds: float, times: int = 1) -> None:
        """Add so many measurements, whose mean is given."""
        mean, count = self.known.get(name, (0.0, 0))
        if not count and len(self.known) >= _MAX_NAMES:
            self.known.clear()
        weight = max(times / (count + times), min(times * _WEIGHT, 1.0))
        self.known[name] = mean + weight * (seconds - mean), count + times


class Totals:
    """Sums over the life of a pool."""

    def __init__(self) -> None:
        self.done = self.failed = self.retried = self.lost = self.started = 0
        self.seconds = 0.0
        self.slowest = "", 0.0

    def add(self, name: str, seconds: float, chunks: int, slowest: float) -> None:
        """Count tasks of a function that were answered, and the seconds of the slowest."""
        self.done += chunks
        self.seconds += seconds
        if slowest > self.slowest[1]:
            self.slowest = name, slowest


class Limit:
    """Until when a worker may run a task. The first time it is interrupted, the second time (`hard`) killed."""

    __slots__ = ("at", "hard", "place")

    def __init__(self, place: int, at: float, hard: bool) -> None:
        self.place = place
        self.at = at
        self.hard = hard


class WorkerLoad:
    """A worker: its state, and its tasks, each with its place, in the order in which it got them.

    Attributes:
        untaken: how many of its tasks it has not begun, at most.
        asked: how many tasks it is to be asked for again, since it could not be asked.
        closed: the place of the batch that it runs, if it begins no more of it; else 0.
        chunks: of all its tasks.
        load: seconds that all its tasks take.
        done: tasks that it has answered.
        since: when it was last seen to begin a task, or to have none.
        interrupted: the place of the call in which it was told to raise; 0 for none.
        killed_for: the place of the call for which it is killed; 0 for none.
    """

    __slots__ = (
        "asked",
        "chunks",
        "closed",
        "count",
        "done",
        "id",
        "interrupted",
        "killed_for",
        "limit",
        "load",
        "since",
        "state",
        "tasks",
        "untaken",
    )

    def __init__(self, id: int) -> None:
        self.id = id
        self.state = STARTING
        self.tasks: collections.deque[tuple[int, QueuedTask]] = collections.deque()
        self.untaken = self.chunks = self.done = self.count = self.asked = self.closed = 0
        self.load = self.since = 0.0
        self.limit: Limit | None = None
        self.interrupted = self.killed_for = 0

    def take_back(self, most: int) -> TakeBack:
        """Return what takes tasks back from it."""
        return TakeBack(self.id, most, self.count)

    def sent_after(self, last: int) -> int:
        """Return how many tasks it got after the place `last`."""
        return sum(0 < (place - last) % MAX_PLACE < MAX_PLACE // 2 for place, _ in self.tasks)

    def has_tasks_behind(self) -> bool:
        """Whether something stands behind the task that it runs, as far as is known, and can be asked for."""
        return self.untaken > 0 and len(self.tasks) > 1 and not self.asked

    def has_batch_to_share(self) -> bool:
        """Whether it runs a batch of which it may not have begun all."""
        if self.chunks <= 1 or not self.tasks:
            return False
        place, task = self.tasks[0]
        return task.batch is not None and task.count > 1 and self.closed != place


class AssignedTasks:
    """The workers of a pool and the tasks that they have, and how these come back from them.

    Args:
        max_tasks: after how many tasks a worker leaves; None for never.
        max_behind: how many tasks a worker may have at once, at most.
    """

    def __init__(self, max_tasks: int | None, max_behind: int) -> None:
        self.pending = PendingTasks()
        self.workers: dict[int, WorkerLoad] = {}
        self.costs = Costs()
        self.totals = Totals()
        self.idle: dict[WorkerLoad, None] = {}  # READY, without a task; last, the one that had a task last
        self.even_at = NEVER  # when it is looked whether work is shared evenly
        self.first_limit = NEVER  # not later than the earliest limit
        self.max_tasks = max_tasks
        self._max_behind = max_behind
        self._behind = 0  # tasks behind those that run, of all workers
        self._batches = 0  # that workers have
        self._look_at = 0.0
        self.last: WorkerLoad | None = None  # the worker that was sent something last

    def join(self, worker: WorkerLoad, now: float) -> None:
        """Add a worker."""
        worker.state = READY
        worker.since = now
        self.idle[worker] = None

    def leave(self, worker: WorkerLoad, state: str) -> None:
        """Send a worker no more."""
        worker.state = state
        self.idle.pop(worker, None)

    def answered(self, worker: WorkerLoad, now: float, took: float | None, chunks: int) -> tuple[int, QueuedTask]:
        """Remove the oldest task of a worker, which has answered it; return its place and it."""
        place, task = worker.tasks.popleft()
        worker.done += 1
        seconds = now - worker.since if took is None else took
        if seconds < _LEAST:
            seconds = _LEAST
        if chunks:
            self.costs.add(task.name, seconds / chunks)
        self.totals.add(task.name, seconds, chunks, seconds)
        worker.since = now
        self._removed(worker, task)
        return place, task

    def answered_each(
        self, answers: Sequence[tuple[int, Any, float]], now: float
    ) -> list[tuple[WorkerLoad, int, QueuedTask, Any]]:
        """Remove the oldest tasks of workers, each of one call, which have answered: (worker, value, seconds).

        Returns: for each answer its worker, the task's place, the task, the value.
        """
        found = []
        name, times, total, slowest = "", 0, 0.0, 0.0
        for id, value, took in answers:
            worker = self.workers.get(id)
            if worker is None or not worker.tasks:
                continue
            place, task = worker.tasks.popleft()
            worker.done += 1
            worker.since = now
            self._removed(worker, task)
            if task.name != name:
                self._measured(name, times, total, slowest)
                name, times, total, slowest = task.name, 0, 0.0, 0.0
            times += 1
            total += took
            if took > slowest:
                slowest = took
            found.append((worker, place, task, value))
        self._measured(name, times, total, slowest)
        return found

    def _measured(self, name: str, times: int, total: float, slowest: float) -> None:
        if times:
            self.costs.add(name, max(total / times, _LEAST), times)
            self.totals.add(name, total, times, slowest)

    def is_spent(self, worker: WorkerLoad) -> bool:
        """Whether a worker has done as many tasks as it may."""
        return self.max_tasks is not None and worker.done >= self.max_tasks

    def _removed(self, worker: WorkerLoad, task: QueuedTask) -> None:
        """Keep the sums after a task was removed from a worker."""
        worker.chunks -= 1 if task.batch is None else task.count
        worker.load -= task.load
        task.worker = 0
        if task.batch is not None:
            self._batches -= 1
            worker.closed = 0
        if worker.tasks:
            self._behind -= 1
            if worker.untaken > len(worker.tasks):
                worker.untaken = len(worker.tasks)
        else:
            worker.untaken = 0
            worker.load = 0.0  # what is left of it is an error of rounding
            if worker.state is READY and (self.max_tasks is None or worker.done < self.max_tasks):
                self.idle[worker] = None

    def remove(self, worker: WorkerLoad, places: list[int]) -> list[QueuedTask]:
        """Remove tasks from a worker; return them, the oldest first."""
        found = [item for item in worker.tasks if item[0] in places]
        for item in found:
            worker.tasks.remove(item)
            self._removed(worker, item[1])
        return [task for _, task in found]


class Assignments(AssignedTasks):
    """The tasks of a pool and the workers that have them."""

    # -- out -------------------------------------------------------------------------------------------------------

    def hand_out(self, now: float, actions: list[Action]) -> None:
        """Send what waits to all that may have it: to a worker that is awake first if it is short."""
        pending, last = self.pending, self.last
        if last is not None and last.tasks and pending.count and self.costs.of(pending.first().name) < WAKING:
            self.fill(last, now, actions)
        if self.idle:
            self.fill_idle(now, actions)
        if pending.count:
            for worker in self.workers.values():
                self.fill(worker, now, actions)
                if not pending.count:
                    break

    def fill_idle(self, now: float, actions: list[Action]) -> None:
        """Send tasks to workers that have none, also what others have not begun, as long as there are some."""
        if not self.idle:
            return
        pending = self.pending
        if pending.count:
            if self._behind and now >= self._look_at and self._take_from_slow(now, actions):
                return  # what they give back came before what waits
            for worker in reversed(list(self.idle)):
                self.fill(worker, now, actions)
                if not pending.count:
                    break
        if self.idle and (self._behind or self._batches):
            if self._behind and not pending.count:
                self._take_from_rich(actions)
            if self.even_at == NEVER and self._is_uneven():
                self.even_at = now + _UNEVEN

    def fill(self, worker: WorkerLoad, now: float, actions: list[Action]) -> None:
        """Send a worker as much of what waits as it may have."""
        pending, max_tasks, known = self.pending, self.max_tasks, self.costs.known
        sent: list[tuple[int, QueuedTask]] = []
        while pending.count and worker.state is READY:
            chunks = worker.chunks
            if max_tasks is not None and worker.done + chunks >= max_tasks:
                break
            is_behind = bool(worker.tasks)  # also behind a batch of which nothing is left
            if is_behind and chunks >= self._max_behind:
                break
            cost = known.get(pending.first().name)
            load = LONG_CALL if cost is None else cost[0]
            if is_behind:
                together = worker.load + load
                if chunks >= MIN_TASKS and together > LONG_CALL:
                    break
                if together > WAKING and pending.count <= len(self.idle):
                    break  # those that have nothing will get it
                self._behind += 1
            else:
                worker.since = now
                self.idle.pop(worker, None)
            task = pending.popleft()
            place = worker.count = worker.count % MAX_PLACE + 1
            sent.append((place, task))
            worker.tasks.append(sent[-1])
            worker.untaken += 1
            task.worker, task.load = worker.id, load
            if task.batch is not None:
                task.load = load * task.count
                worker.chunks += task.count
                self._batches += 1
            else:
                worker.chunks += 1
            worker.load += task.load
            if task.options.timeout is not None:
                self.begin_time(worker, now)
            if self.idle and (is_behind or task.batch is not None) and self.even_at == NEVER and self._is_uneven():
                self.even_at = now + _UNEVEN
        if sent:
            self.last = worker
            one = _new_tuple(Send, (worker.id, *sent[0])) if len(sent) == 1 else None
            actions.append(one or SendAll(worker.id, sent))

    def _is_uneven(self) -> bool:
        if not self.idle or not (self._behind or self._batches):
            return False
        return any(worker.has_tasks_behind() or worker.has_batch_to_share() for worker in self.workers.values())

    def _take_from_rich(self, actions: list[Action]) -> None:
        """Take half of what the richest worker has behind the call that it runs, if that is worth waking another."""
        richest = None
        for worker in self.workers.values():
            if (
                worker.has_tasks_behind()
                and worker.load - worker.tasks[0][1].load >= WAKING
                and (richest is None or len(worker.tasks) > len(richest.tasks))
            ):
                richest = worker
        if richest is not None:
            actions.append(richest.take_back(len(richest.tasks) // 2))

    def _take_from_slow(self, now: float, actions: list[Action]) -> bool:
        """Take back what stands behind a long task."""
        self._look_at = now + _SLOW / 2
        slow = self._slow(now - _SLOW)
        actions += [worker.take_back(len(worker.tasks) - 1) for worker in slow]
        return bool(slow)

    def _slow(self, since: float) -> list[WorkerLoad]:
        return [worker for worker in self.workers.values() if worker.has_tasks_behind() and worker.since <= since]

    def even_out(self, now: float, actions: list[Action]) -> None:
        """Share what stands behind a task that turns out to be long among the workers that have nothing."""
        self.even_at = NEVER
        for worker in self.workers.values():
            if worker.asked:
                actions.append(worker.take_back(worker.asked))
        if not self._is_uneven():
            return
        self.even_at = now + _UNEVEN
        for worker in self._slow(now - _UNEVEN / 2):
            actions.append(worker.take_back(len(worker.tasks) - 1))
        for worker in self.workers.values():
            if worker.since <= now - _UNEVEN / 2 and worker.has_batch_to_share():
                actions.append(SplitBatch(worker.id, worker.tasks[0][0]))

    def batch_size(self, left: int, name: str) -> int:
        """Return how many of a map's `left` chunks should travel together: many short ones, and enough for all."""
        if self.max_tasks is not None or self._max_behind < MIN_TASKS:  # where nothing can be taken back
            return 1
        share = left // (8 * max(len(self.workers), 1))
        return max(min(int(LONG_CALL / 4 / self.costs.of(name)), share, MAX_TASKS), 1)

    def backlog(self) -> int:
        """Return how many tasks no worker runs."""
        return self.pending.count + self._behind

    def ask_again(self, worker: WorkerLoad, asked: int, now: float) -> None:
        """Ask a worker soon for tasks that it could not be asked for now; for none if 0."""
        worker.asked = asked
        if asked:
            self.even_at = min(self.even_at, now + _UNEVEN)

    def split(self, worker: WorkerLoad, begun: int) -> tuple[QueuedTask, Batch] | None:
        """Remove those chunks of the batch that a worker runs which it has not begun; return its task, and them.

        The task's own batch is its caller's to cut.
        """
        worker.closed, task = worker.tasks[0]
        batch = task.batch
        if batch is None or batch.start + begun >= batch.stop:
            return None
        each = task.load / task.count
        rest = batch._replace(start=batch.start + begun)
        worker.chunks -= rest.stop - rest.start
        worker.load -= each * (rest.stop - rest.start)
        task.load = each * begun
        return task, rest

    # -- time ------------------------------------------------------------------------------------------------------

    def begin_time(self, worker: WorkerLoad, now: float) -> None:
        """Begin the time of the task that a worker runs now, if it has any."""
        if not worker.tasks:
            return
        place, task = worker.tasks[0]
        limit, timeout = worker.limit, task.options.timeout
        # A hard limit is that of a task which the worker runs already, whatever of it is not known yet.
        if timeout is not None and (limit is None or (limit.place != place and not limit.hard)):
            self.limit(worker, place, now + timeout, hard=False)

    def limit(self, worker: WorkerLoad, place: int, at: float, hard: bool) -> None:
        """Set until when a worker may run a task."""
        worker.limit = Limit(place, at, hard)
        self.first_limit = min(self.first_limit, at)
