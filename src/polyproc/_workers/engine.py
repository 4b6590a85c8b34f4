"""What the engines of processes and of threads have in common: events go in under a lock, actions are performed.

A caller's event is performed in its own thread, so that a call is sent at once. User code never runs under the lock:
outcomes are delivered, and workers started, after it. What may come from anywhere, also from a collection of garbage
in the middle of an event (the end of a pool, a cancellation), is an order: it is noted without the lock, and carried
out by the engine's thread.
"""

from __future__ import annotations

import collections
import functools
import os
import threading
import weakref
from itertools import islice, starmap
from time import monotonic

from polyproc._base.errors import ProcessError, has_room, report
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Self
from polyproc._platform.handles import AT_ONCE, pause
from polyproc._scheduling.actions import (
    CANCELLED,
    ERROR,
    TERMINATED,
    TIMED_OUT,
    VALUE,
    WITHDRAWN,
    Action,
    Dropped,
    Ended,
    Pull,
    Send,
    SendAll,
    Settle,
    SettleAll,
    SettleEach,
    Stop,
)
from polyproc._scheduling.assignments import CLOSE, NEVER, NEW, RUN, TERMINATE, QueuedTask
from polyproc._scheduling.deaths_and_deadlines import PoolStats
from polyproc._workers.interrupter import leave_copy, out_of_time
from polyproc._workers.worker import Closed, ClosedError, ClosedOutcomes, add_attempts

if TYPE_CHECKING:
    from polyproc._scheduling.scheduler import Scheduler
    from polyproc._workers.feeder import Feeder
    from polyproc._workers.worker_set import Away

NOT_RUNNING = "Pool not running: it was closed or terminated, or `with` has ended; make another one"
_LONG = 0.005  # seconds after which a thread looks at what else there is
_PATIENCE = 0.5  # seconds that a terminated pool waits for one more outcome that the user's code has a part in

Outcome = Settle | SettleAll | Stop
_OUTCOMES = {Settle, SettleAll, SettleEach, Stop}


class Outcomes:
    """Outcomes that are known, and how they are handed out: no code of the user's holds up what is not its own.

    Each goes through up to three steps, and a thread that finds others at one of them passes by:

        settle      the job takes it: quick, by one thread at a time
        open        the value that a worker has sent is made, by any number of threads at once; then it is settled
        call back   the outcomes of jobs with callbacks are settled, by one thread at a time, in their order

    The last two run code of the user's, which may last, and never return. Whoever must not be held (the engine's
    thread) says that it goes `Away` each time. If it stays away, another takes its place.
    """

    def __init__(self) -> None:
        self.waiting: collections.deque[Outcome | SettleEach] = collections.deque()  # to be settled
        self.add = self.waiting.append
        self._closed: collections.deque[Outcome] = collections.deque()
        self._calling: collections.deque[Outcome] = collections.deque()
        self._settles = threading.Lock()
        self._calls = threading.Lock()
        self._is_over = False  # whether nothing is opened any more, and nobody called back
        self._opening: dict[int, None] = {}  # threads that open a value
        self._opened = self._seen = 0  # how many were, and when it was last looked
        self._called = 0  # how many jobs were called back for
        self._in_hand: dict[int, Outcome] = {}  # by thread: whose value is opened, or whose job calls back
        self._pid = os.getpid()

    def are_left(self) -> bool:
        """Whether there is something for a thread that comes by: one that is at a step does all that comes to it."""
        if self.waiting and not self._settles.locked():
            return True
        return bool((self._closed and not self._opening) or (self._calling and not self._calls.locked()))

    def are_in_hand(self) -> bool:
        """Whether there is something that has not come to its end."""
        return bool(self.waiting or self._closed or self._calling or self._in_hand)

    def wait(self) -> None:
        """Wait until all have come to their end, but for what this thread is at."""
        while self.are_in_hand() and threading.get_ident() not in self._in_hand:
            pause(_LONG)

    def deliver(self, away: Away | None = None) -> bool:
        """Hand out what there is, for a while if `away` is given; return False if its place is another's now."""
        until = 0.0
        while True:
            self.settle()
            if self._closed and (away is None or not self._opening):
                stays = self.open_one(away)
            elif self._calling and not self._calls.locked():
                stays = self._call_back(away)
            else:
                return True
            if not stays:
                self.deliver()  # what this thread has brought
                return False
            if away is not None:
                until = until or monotonic() + _LONG
                if monotonic() > until:
                    return True

    # -- steps -----------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Settle what there is, but for what the user's code has a part in."""
        waiting = self.waiting
        while waiting:
            turn = [*starmap(self._settles.acquire, AT_ONCE)]
            try:
                if not turn[0]:
                    return  # the thread that is at it also settles what comes meanwhile
                while waiting:
                    outcome = waiting[0]
                    try:
                        if isinstance(outcome, SettleEach) and outcome.values:
                            self._settle_each(outcome.values)
                        elif waiting.popleft() and not isinstance(outcome, SettleEach):
                            self._settle(outcome)
                    except BaseException:  # noqa: BLE001  (others have to hear of theirs)
                        report("a pool could not hand out a result")
                    del outcome
            finally:
                if turn[0]:
                    self._settles.release()

    def _settle(self, outcome: Outcome) -> None:
        """Settle an outcome, or put it where it is opened, or called back for."""
        if type(outcome) is Settle:
            kind, calls_back = type(outcome.value), outcome.job._calls_back
        elif type(outcome) is SettleAll:
            kind, calls_back = type(outcome.outcomes), outcome.job._calls_back
        else:
            kind, calls_back = Stop, outcome.source.calls_back  # type: ignore[union-attr]
        closed = kind is Closed or kind is ClosedError or kind is ClosedOutcomes
        if self._is_over and (closed or calls_back):
            self._end(outcome)
        elif closed:
            self._closed.append(outcome)
        elif calls_back:
            self._calling.append(outcome)
        else:
            _hand_out(outcome)

    def _settle_each(self, values: Any) -> None:
        """Settle values, those of one job that follow each other together; each is there until it is its job's turn."""
        done = 0
        try:
            while done < len(values):
                job, chunk, value = values[done]
                end, alone = done + 1, job._calls_back or type(value) is Closed
                while not alone and end < len(values) and values[end][0] is job and type(values[end][2]) is not Closed:
                    end += 1
                if end == len(values):
                    self.waiting.popleft()  # before the last job wakes its thread, which would see it there
                first, done = done, end
                if alone:
                    self._settle(Settle(job, chunk, VALUE, value))
                elif job._settle(chunk, True, value) if end == first + 1 else job._settle_run(values[first:end]):
                    job._keeps = None
        finally:
            del values[:done]

    def open_one(self, away: Away | None, job: Any = None) -> bool:
        """Open the next one, or none but of `job`, to be settled then; return whether this thread keeps its place."""
        me, stays = threading.get_ident(), True
        self._opening[me] = None
        try:
            outcome = self._next_closed(job)
            if outcome is None:  # another thread was faster
                return True
            self._in_hand[me] = outcome
            if away is not None:
                away.leave()
            try:
                outcome = _opened(outcome)
            finally:
                if os.getpid() != self._pid:
                    leave_copy()
                if away is not None:
                    stays = away.back()
                self._opened += 1
        finally:
            del self._opening[me]
        if self._in_hand.pop(me, None) is not None:  # else its pool has ended meanwhile
            self.waiting.append(outcome)
        return stays

    def _next_closed(self, job: Any = None) -> Outcome | None:
        """Take the next one: those of a job of which another thread opens something just now come after others."""
        try:
            if self._in_hand:
                jobs = [id(outcome.job) for outcome in list(self._in_hand.values()) if not isinstance(outcome, Stop)]
                for _ in range(len(self._closed)):
                    if id(self._closed[0].job) not in jobs:  # type: ignore[union-attr]
                        break
                    self._closed.append(self._closed.popleft())
            outcome = self._closed.popleft()
            if job is None or outcome.job is job:  # type: ignore[union-attr]
                return outcome
            self._closed.appendleft(outcome)  # another's might hold up who waits for this one
        except IndexError:
            pass
        return None

    def look(self) -> bool:
        """Start one more thread that opens values if the others are held up; return whether to look again."""
        opened, self._seen = self._seen, self._opened
        if self._closed and self._opening and opened == self._seen:
            self._have_helped()
        return bool(self._opening)

    def _have_helped(self) -> None:
        try:
            threading.Thread(target=self.deliver, name="polyproc-pool", daemon=True).start()
        except (RuntimeError, MemoryError):  # there can be no more now
            pass

    def _call_back(self, away: Away | None) -> bool:
        """Settle the next one whose job calls back, or all; return whether this thread keeps its place."""
        stays, me = True, threading.get_ident()
        while self._calling:
            turn = [*starmap(self._calls.acquire, AT_ONCE)]
            try:
                if not turn[0]:
                    break  # the thread that is at it also does what comes meanwhile
                while self._calling:
                    outcome = self._in_hand[me] = self._calling.popleft()
                    if away is not None:
                        away.leave()
                    try:
                        _hand_out(outcome)
                    except BaseException:  # noqa: BLE001  (the user's code, called back: others have to hear of theirs)
                        report("a pool's callback raised")
                    finally:
                        if os.getpid() != self._pid:
                            leave_copy()
                        self._in_hand.pop(me, None)
                        self._called += 1
                        if away is not None:
                            stays = away.back()
                    del outcome
                    if away is not None:
                        if stays:
                            return True
                        away = None
            finally:
                if turn[0]:
                    self._calls.release()
        return stays

    # -- the end ---------------------------------------------------------------------------------------------------

    def give_up(self) -> None:
        """Hand out what there is: the pool was terminated. What hangs, and is behind that, is settled as it is."""
        self.settle()
        me = threading.get_ident()
        if me not in self._in_hand and self._come_to_their_end():
            return
        self._is_over = True
        held = [self._in_hand.pop(thread) for thread in list(self._in_hand) if thread != me and thread in self._in_hand]
        while self._closed:
            held.append(self._closed.popleft())
        for outcome in held:
            if _indices_of(outcome):
                self.add(outcome)
            elif not isinstance(outcome, Stop):  # it is called back just now
                outcome.job._let_go()
        while self._calling:
            self.add(self._calling.popleft())

    def _come_to_their_end(self) -> bool:
        """Let another thread hand out what there is, as long as it gets on; it may hang. Return whether all was."""
        if self.are_in_hand():
            self._have_helped()
        done, until = -1, 0.0
        while self.are_in_hand() and (done < self._opened + self._called or monotonic() < until):
            if done < self._opened + self._called:
                done, until = self._opened + self._called, monotonic() + _PATIENCE
            pause(_LONG)
        return not self.are_in_hand()

    @staticmethod
    def _end(outcome: Outcome) -> None:
        """Settle an outcome without the user's code."""
        (outcome.source.let_go if isinstance(outcome, Stop) else outcome.job._let_go)()
        for index in _indices_of(outcome):
            _hand_out(Settle(outcome.job, index, TERMINATED))  # type: ignore[union-attr]
        if not _indices_of(outcome):
            _hand_out(outcome)


class PoolEngine:
    """A pool without the methods that its users call."""

    pack_function: Callable[[Any], Any]  # what stands for a function in a task; raises what pickling raises
    pack: Callable[[Any], tuple[Any, int]]  # what is sent for a function, a kind and arguments, and its size
    send_all: Callable[[SendAll], None]
    _start_next: Callable[[Any], None]

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
        # Calls that may wait a moment, and are submitted together: nobody waits for the lock to add one.
        self._inbox: collections.deque[QueuedTask] = collections.deque()
        self._empties_inbox = False
        self._until = NEVER  # when the engine's thread looks at the clock
        self._performs = False  # whether actions are being performed
        self._settle: Callable[[Any], None] = self.outcomes.waiting.extend
        self._broken_by: BaseException | None = None  # what has broken an event off
        self._to_start: collections.deque[Any] = collections.deque()
        self._starting = threading.RLock()
        self._perform_other: dict[type, Callable[[Any], list[Action] | None]] = {
            Pull: lambda action: action.source.allow(action.most),
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

    # -- events ----------------------------------------------------------------------------------------------------

    def empty_inbox(self) -> None:
        """Submit what is in the inbox, with the lock. It stays there until that is done."""
        inbox = self._inbox
        if self._empties_inbox:
            return
        self._empties_inbox = True
        try:
            tasks = inbox.copy()
            new = [task for task in tasks if task.state is NEW]  # the others were: a Ctrl-C came as they were removed
            self.perform(self.scheduler.submitted(new, monotonic()))
            for _ in tasks:
                inbox.popleft()
        finally:
            self._empties_inbox = False

    def submit(self, tasks: list[QueuedTask], source: Any = None, sent: int = 0) -> None:
        """Submit tasks. Raises ValueError if the pool takes no more."""
        if self.lock._is_owned():  # type: ignore[attr-defined]  # by a finalizer, in the middle of an event
            self.order("submitted", tasks, source=source, sent=sent)  # which wakes: not each event is followed up
            return
        if not has_room():
            raise RecursionError("maximum recursion depth exceeded: a pool takes no call so deep in the stack")
        try:
            with self.lock:
                if source is None and (self.state != RUN or self.scheduler.state):
                    raise ValueError(NOT_RUNNING)
                try:
                    if self._inbox:
                        self.empty_inbox()
                    self.perform(self.scheduler.submitted(tasks, monotonic(), source, sent))
                except BaseException as error:
                    if self.scheduler.unperformed:  # else all is as it was before, or afterwards
                        self.fail(error)
                    raise
        finally:
            self.follow_up()

    def event(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Tell the scheduler what has happened, and perform what it asks for."""
        if self.lock._is_owned() or not has_room():  # type: ignore[attr-defined]
            self.order(name, *args, **kwargs)
            return
        try:
            with self.lock:
                try:
                    if self._inbox:
                        self.empty_inbox()
                    self.perform(getattr(self.scheduler, name)(*args, now=monotonic(), **kwargs))
                except BaseException as error:
                    if self.scheduler.unperformed:  # else all is as it was before, or afterwards
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
        while self._orders and has_room():
            order = self._orders.popleft()
            with self.lock:
                if self._inbox:
                    self.empty_inbox()
                self.perform(order(now=monotonic()))  # type: ignore[call-arg]

    def fail(self, error: BaseException) -> None:
        """End the pool: an event was broken off in the middle, by a Ctrl-C or for lack of memory."""
        self._broken_by = error
        self.state = TERMINATE
        self.order("broken_off", error=error)

    def perform(self, actions: list[Action]) -> None:
        """Do what the scheduler asks for, in its order; what cannot be done under the lock is noted.

        What one of them tells the scheduler in between asks for more, which comes behind. Each is the scheduler's
        until it is performed: if that is broken off, `recover` finds what is left. An outcome moves in one step.
        """
        if self._performs:
            return
        if len(self.scheduler.unperformed) > 1:
            self.recover()
            return
        unperformed, settle, send, others = self.scheduler.unperformed, self._settle, self.send, self._perform_other
        self._performs = True
        try:
            while unperformed:
                actions, rest = unperformed[0]
                for action in actions:
                    kind = type(action)
                    if kind in _OUTCOMES:
                        settle(islice(rest, 1))
                    elif kind is Send:
                        next(rest)  # a call is sent once at most
                        send(action)  # type: ignore[arg-type]
                    elif kind is SendAll:
                        next(rest)  # the same
                        self.send_all(action)  # type: ignore[arg-type]
                    else:
                        others[kind](action)
                        next(rest)
                unperformed.popleft()
        finally:
            self._performs = False
        if self._inbox and not self._empties_inbox:
            self.empty_inbox()

    def recover(self) -> None:
        """After an event that was broken off, with the lock: keep what it had settled, and end the rest."""
        self.state = TERMINATE
        error = self._broken_by or ProcessError("the pool was broken off as it dealt with a call")
        self.perform(self.scheduler.broken_off(monotonic(), error))

    def follow_up(self) -> None:
        """After an event, without the lock: see that the engine's thread does what is left."""
        has_more = self.outcomes.are_left() or self._orders or self._inbox or self.has_ended
        if has_more or self.scheduler.next_tick() < self._until:
            self.wake()

    def _start_workers(self) -> None:
        """Start what is to be started. If another thread does, it also starts what comes meanwhile."""
        starting = self._starting
        while self._to_start and not starting._is_owned():  # type: ignore[attr-defined]
            turn = [*starmap(starting.acquire, AT_ONCE)]
            try:
                if not turn[0]:
                    return
                while self._to_start:
                    self._start_next(self._to_start[0])
                    self._to_start.popleft()  # last: after a Ctrl-C another thread deals with it
            finally:
                if turn[0]:
                    starting.release()

    def _note_end(self, action: Ended) -> None:
        self.has_ended = True
        self.scheduler.error = self._broken_by = None  # a traceback may lead to the pool, which would live as long

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
            return self.scheduler.runs(task)  # not if it is in the inbox

    def stats(self) -> PoolStats:
        """Return how things stand."""
        self.event("looked")
        with self.lock:
            return self.scheduler.stats()


def _indices_of(outcome: Outcome) -> range:
    """Return the chunks of what was to be opened; none of what was to be called back."""
    if type(outcome) is Settle and (type(outcome.value) is Closed or type(outcome.value) is ClosedError):
        return range(outcome.chunk, outcome.chunk + 1)
    if type(outcome) is SettleAll and type(outcome.outcomes) is ClosedOutcomes:
        return range(outcome.first, outcome.first + len(outcome.outcomes))
    return range(0)


def _opened(outcome: Outcome) -> Outcome:
    if isinstance(outcome, SettleAll):
        return outcome._replace(outcomes=outcome.outcomes.opened())  # type: ignore[attr-defined]
    assert isinstance(outcome, Settle)  # nothing else is closed
    success, value = outcome.value.opened()
    if outcome.attempts is not None:
        add_attempts(value, *outcome.attempts)
    return outcome._replace(kind=VALUE if success else ERROR, value=value, attempts=None)


def _hand_out(outcome: Outcome) -> None:
    if isinstance(outcome, Stop):
        kind, value = outcome.kind, outcome.value
        outcome.source.cut(outcome.sent, None if kind in (VALUE, WITHDRAWN) else _error_of(kind, value))
        return
    if isinstance(outcome, SettleAll):
        job, settle = outcome.job, outcome.job._settle
        for chunk, (success, value) in enumerate(outcome.outcomes, outcome.first):
            if settle(chunk, success, value):
                job._keeps = None
        return
    job, chunk, kind, value, attempts = outcome
    del outcome
    if kind != VALUE:
        value = _error_of(kind, value)
        if attempts is not None:
            add_attempts(value, *attempts)
    done = job._settle(chunk, kind == VALUE, value)
    del value
    if done:
        job._keeps = None


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
