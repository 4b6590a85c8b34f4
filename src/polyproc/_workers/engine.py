"""What the engines of processes and of threads have in common: events go in under a lock, actions are performed.

A caller's event is performed in its own thread, so that a call is sent at once. User code never runs under the lock:
outcomes are delivered, and workers started, after it. What may come from anywhere, also from a collection of garbage
in the middle of an event (the end of a pool, a cancellation), is an order: it is noted without the lock, and carried
out by the engine's thread.
"""

from __future__ import annotations

import collections
import functools
import sys
import threading
import weakref
from itertools import starmap
from time import monotonic

from polyproc._base.errors import ProcessError
from polyproc._base.modules import Later
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Protocol, Self, Sequence
from polyproc._platform.handles import AT_ONCE
from polyproc._scheduling.actions import (
    CANCELLED,
    ERROR,
    TERMINATED,
    TIMED_OUT,
    VALUE,
    WITHDRAWN,
    Action,
    Ended,
    Pull,
    Send,
    Settle,
    SettleAll,
    Stop,
)
from polyproc._scheduling.assignments import NEVER, WAKING, QueuedTask, ResolvedOptions
from polyproc._scheduling.call_events import PoolStats
from polyproc._workers.interrupter import out_of_time

traceback: Any = Later("traceback")

if TYPE_CHECKING:
    from polyproc._scheduling.scheduler import Scheduler
    from polyproc._workers.feeder import Feeder

RUN, CLOSE, TERMINATE = "RUN", "CLOSE", "TERMINATE"
NOT_RUNNING = "Pool not running: it was closed or terminated, or `with` has ended; make another one"
_ENOUGH = 4  # short tasks at hand, while which a feeder may gather more


class Dropped(Exception):
    """The outcome of a call that nobody wanted any more: cancelled, or beyond the end that its reader has set."""

    def __init__(self, is_end: bool) -> None:
        super().__init__()
        self.is_end = is_end


class Job(Protocol):
    """What outcomes go to."""

    keeps: Any  # an object that lives as long as the job is not done

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the outcome of a chunk; return whether it was the last."""
        ...


class Source(Protocol):
    """What brings the tasks of a job as they are asked for."""

    def allow(self, most: int | None) -> None:
        """Send up to so many chunks in all; any number for None."""
        ...

    def cut(self, sent: int, error: BaseException | None) -> None:
        """Send no more than was sent; an error tells its reader why. Called once for each source."""
        ...


class Outcomes:
    """Outcomes that are known, and those of them that are `waiting` to be delivered."""

    def __init__(self) -> None:
        self.waiting: collections.deque[Settle | SettleAll | Stop] = collections.deque()
        self._delivering = threading.Lock()
        self.add = self.waiting.append

    def deliver(self) -> None:
        """Hand out what there is. If another thread does, it also hands out what comes meanwhile."""
        waiting = self.waiting
        while waiting:
            turn = [*starmap(self._delivering.acquire, AT_ONCE)]
            try:
                if not turn[0]:
                    return
                while waiting:
                    outcome = waiting.popleft()
                    try:
                        self._hand_out(outcome)
                    except BaseException:  # noqa: BLE001  (the user's code, called back: others have to hear of theirs)
                        report("a pool's callback raised")
                    del outcome
            finally:
                if turn[0]:
                    self._delivering.release()

    @staticmethod
    def _hand_out(outcome: Settle | SettleAll | Stop) -> None:
        if isinstance(outcome, Stop):
            kind, value = outcome.kind, outcome.value
            outcome.source.cut(outcome.sent, None if kind in (VALUE, WITHDRAWN) else _error_of(kind, value))
            return
        if isinstance(outcome, SettleAll):
            job, settle = outcome.job, outcome.job.settle
            for chunk, (success, value) in enumerate(outcome.outcomes, outcome.first):
                if settle(chunk, success, value):
                    job.keeps = None
            return
        job, chunk, kind, value, attempts = outcome
        del outcome
        if kind == VALUE:
            done = job.settle(chunk, True, value)
        else:
            value = _error_of(kind, value)
            if attempts is not None:
                _add_note(value, f"attempt {attempts[0]} of {attempts[1]}")
            done = job.settle(chunk, False, value)
        del value
        if done:
            job.keeps = None


class PoolEngine:
    """A pool without the methods that its users call."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.state = RUN
        self.scheduler = scheduler
        self.lock = threading.RLock()
        self.outcomes = Outcomes()
        self.feeders: list[Feeder] = []
        self.has_ended = False
        self._owner: Callable[[], object] = lambda: NEVER
        self._let_go: Callable[[], object] = self.close
        self._orders: collections.deque[Callable[[float], list[Action]]] = collections.deque()
        self._until = NEVER  # when the engine's thread looks at the clock
        self._perform_other: dict[type, Callable[[Any], list[Action] | None]] = {
            Pull: lambda action: action.source.allow(action.most),
            Stop: self.outcomes.add,
            SettleAll: self.outcomes.add,
            Ended: self._note_end,
        }

    def of(self, owner: object, let_go: Callable[[], object]) -> Self:
        """Return it. `let_go` is called where nobody has the owner any more, and its finalizer was broken off."""
        self._owner, self._let_go = weakref.ref(owner), let_go
        return self

    # -- to be filled in -------------------------------------------------------------------------------------------

    def send(self, action: Send) -> list[Action] | None:
        """Send a task to a worker."""
        raise NotImplementedError

    def wake(self) -> None:
        """Wake the engine's thread, or do what it would do, if there is none."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the workers that there are from the beginning."""
        raise NotImplementedError

    def join(self) -> None:
        """Wait for the end."""
        raise NotImplementedError

    @property
    def processes(self) -> list[Any]:
        """The workers that stay."""
        raise NotImplementedError

    def pack_function(self, function: Any, /) -> Any:
        """Return what stands for a function in a task. Raises what pickling raises."""
        raise NotImplementedError

    def pack(self, message: Any, /) -> tuple[Any, int]:
        """Return what is sent to a worker for a function, a kind and arguments, and its size."""
        raise NotImplementedError

    def add_chunks(
        self, job: Any, function: Any, kind: int, chunks: Sequence[Any], name: str, options: ResolvedOptions
    ) -> None:
        """Submit the chunks of a map."""
        raise NotImplementedError

    # -- events ----------------------------------------------------------------------------------------------------

    def submit(self, tasks: list[QueuedTask], source: Any = None, sent: int = 0) -> None:
        """Submit tasks. Raises ValueError if the pool takes no more."""
        if self.lock._is_owned():  # type: ignore[attr-defined]  # by a finalizer, in the middle of an event
            self._orders.append(functools.partial(self.scheduler.submitted, tasks, source=source, sent=sent))
            return
        try:
            with self.lock:
                if source is None and (self.state != RUN or self.scheduler.state):
                    raise ValueError(NOT_RUNNING)
                try:
                    self.perform(self.scheduler.submitted(tasks, monotonic(), source, sent))
                except BaseException as error:
                    self.fail(error)
                    raise
        finally:
            self.follow_up()

    def event(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Tell the scheduler what has happened, and perform what it asks for."""
        if self.lock._is_owned():  # type: ignore[attr-defined]
            self.order(name, *args, **kwargs)
            return
        try:
            with self.lock:
                try:
                    self.perform(getattr(self.scheduler, name)(*args, now=monotonic(), **kwargs))
                except BaseException as error:
                    self.fail(error)
                    raise
        finally:
            self.follow_up()

    def order(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Pass what has happened to the scheduler, in the engine's thread."""
        self._orders.append(functools.partial(getattr(self.scheduler, name), *args, **kwargs))
        self.wake()

    def carry_out(self) -> None:
        """Tell the scheduler what was ordered."""
        while self._orders:
            order = self._orders.popleft()
            with self.lock:
                self.perform(order(now=monotonic()))  # type: ignore[call-arg]

    def fail(self, error: BaseException) -> None:
        """End the pool: an event was broken off in the middle, by a Ctrl-C or for lack of memory."""
        self.state = TERMINATE
        self.order("terminating", error=error)

    def perform(self, actions: list[Action]) -> None:
        """Do what the scheduler asks for, in its order; what cannot be done under the lock is noted."""
        for action in actions:
            kind = type(action)
            if kind is Settle:
                self.outcomes.add(action)  # type: ignore[arg-type]
            else:
                more = self.send(action) if kind is Send else self._perform_other[kind](action)  # type: ignore[arg-type]
                if more:
                    actions += more

    def follow_up(self) -> None:
        """After an event, without the lock: see that the engine's thread does what is left."""
        if self.outcomes.waiting or self._orders or self.has_ended or self.scheduler.next_tick() < self._until:
            self.wake()

    def _note_end(self, action: Ended) -> None:
        self.has_ended = True
        self.scheduler.error = None  # its traceback may lead to the pool, which would live as long as this

    # -- called by pools -------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many workers there are, at most."""
        return self.scheduler.staffing.size

    @property
    def error(self) -> BaseException | None:
        """Why the pool is broken, if it is."""
        return self.scheduler.error

    def close(self) -> None:
        """Take no more calls."""
        if self.state == RUN:
            self.state = CLOSE
        self.order("closing")

    def terminate(self) -> None:
        """Take no more calls, and end those that are there. Does not wait."""
        self.state = TERMINATE
        self.order("terminating")

    def refuse(self, job: Any, chunks: int, error: BaseException, first: int = 0) -> None:
        """Fail chunks that could not be submitted."""
        for chunk in range(first, first + chunks):
            self.outcomes.add(Settle(job, chunk, 1, error))
        self.wake()

    def cancel(self, task: QueuedTask) -> None:
        """End a call, if that can be; it does not begin any more."""
        self.event("cancelled", task)

    def cancel_job(self, job: Any, running: bool = False) -> None:
        """Cancel what no worker runs of a job; what runs, too, if `running`."""
        self.event("job_cancelled", job, kind=CANCELLED, running=running)

    def runs(self, task: QueuedTask) -> bool:
        """Whether a worker runs a task now, as far as its answers have told."""
        with self.lock:
            return self.scheduler.runs(task)

    def stats(self) -> PoolStats:
        """Return how things stand."""
        with self.lock:
            return self.scheduler.stats()

    # -- feeders ---------------------------------------------------------------------------------------------------

    def has_enough(self, name: str) -> bool:
        """Whether one more call of a function could wait a little: they are short, and there is enough at hand."""
        assignments = self.scheduler.assignments
        return assignments.costs.of(name) < WAKING and assignments.backlog() >= _ENOUGH

    def flush_feeders(self) -> None:
        """Submit what feeders have gathered, where workers run short of it."""
        for feeder in tuple(self.feeders):
            if not self.has_enough(feeder.called):
                feeder.flush()


def function_name(function: Any) -> str:
    """Return the name of a function, for those who read of its failure, and to remember what it costs."""
    try:
        while isinstance(function, functools.partial):
            function = function.func
        name = function.__qualname__
    except Exception:  # noqa: BLE001  (it has none, or the user's code raised)
        return ""
    return name if type(name) is str else ""


def _error_of(kind: int, value: Any) -> Any:
    """Return an error for a kind of outcome."""
    if kind == ERROR:
        return value
    if kind == TIMED_OUT:
        return out_of_time()
    if kind == TERMINATED:
        return ProcessError("the pool was terminated")
    assert kind in (CANCELLED, WITHDRAWN)  # there are no others
    return Dropped(kind == WITHDRAWN)


def _add_note(error: BaseException, note: str) -> None:
    try:
        error.add_note(note)
    except BaseException:  # noqa: BLE001  (its `__notes__` is no list, or its method is the user's)
        pass


def report(what: str) -> None:
    """Write a traceback to standard error, if there is one."""
    try:
        sys.stderr.write(f"{what}:\n{traceback.format_exc()}")
    except BaseException:  # noqa: BLE001  (none, a broken one, or an error that cannot be shown)
        pass
