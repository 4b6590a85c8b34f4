"""The engine of a pool of processes: calls go in from any thread, one thread hears the workers and hands out outcomes.

No lock is shared between workers that one of them could die with for good. The threads hold no reference to the pool
that its users hold. A second thread watches for workers' ends, and notes each behind all that it had said.
"""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
import collections
import threading
from time import monotonic
from types import BuiltinFunctionType, FunctionType

from polyproc._base.errors import ProcessDied, ProcessError, report
from polyproc._base.typing import Any, Callable, Iterable, Sequence
from polyproc._pickling.pickler import dumps_function, dumps_to_keep
from polyproc._platform.handles import HeldBack, is_held, start_thread
from polyproc._scheduling.actions import (
    Action,
    ClearInterrupt,
    Dismiss,
    Interrupt,
    Kill,
    ResolvedOptions,
    Send,
    SendAll,
    SplitBatch,
    StartWorkers,
    TakeBack,
)
from polyproc._scheduling.assignments import CLOSE, NEVER, RUN, TERMINATE, Batch, QueuedTask
from polyproc._scheduling.deaths_and_deadlines import CLOSING, TERMINATING, StaffingConfig
from polyproc._scheduling.scheduler import Scheduler
from polyproc._workers.engine import PoolEngine
from polyproc._workers.worker import (
    ALL_DONE,
    BATCH,
    CALL,
    DONE,
    FAILED,
    FAILED_START,
    LEAVING,
    LOOK,
    PARTS,
    READY,
    Closed,
    function_name,
)
from polyproc._workers.worker_set import Leader, Monitor, PoolConfig, WorkerHandle, workers_of

BLOCK, BLOCK_BYTES = 64, 16384  # of one job's tasks, so many or so many bytes are packed before they are submitted
ITEM = r"obj\[2\]\[\d+\]", "item"  # of a chunk: see diagnosis.py
_LAST = 0.3  # seconds that a pool which was terminated still opens values and calls back
MAX_WAIT = 2.0  # seconds without a look at the workers
BURST = 64  # messages that are heard before their outcomes are handed out: waiting threads are woken less often


class ProcessWorkers(PoolEngine):
    """The part of an engine that deals with its processes."""

    _leader: Leader
    _start_threads: Callable[[], None]

    def __init__(self, config: PoolConfig, translated: Callable[[BaseException], BaseException]) -> None:
        starts_together = config.is_executors and config.idle_timeout is None and config.forks
        staffing = StaffingConfig(config.size, config.on_demand, starts_together, config.idle_timeout)
        self.workers = workers_of(config)
        vars(self).update(getattr(self.workers, "instead", {}))  # what workers on other hosts do in place of methods
        super().__init__(Scheduler(staffing, config.max_tasks, self.workers.max_behind))
        self._translated = translated
        self.handles, self.channels = self.workers.handles, self.workers.channels
        look = lambda: self._leader.look(self.outcomes.look())  # noqa: E731
        self._monitor = Monitor(self.handles, self.channels.note, self._cannot_watch, look)
        self._has_threads = self._has_more = False  # whether more was taken than was heard yet
        self._lacks_threads = False  # whether nobody hears workers that were asked for
        self._errors: list[BaseException] | None = None  # of `start`, while it runs
        self._found: list[tuple[int, bool, Any]] = []  # what was taken and not heard yet, the last first
        self._looks = False  # whether a note is on its way, behind the answers that are there, to look at the clock
        self._perform_other |= {
            TakeBack: self._take_back,
            SplitBatch: self._split_batch,
            Interrupt: self._interrupt,
            ClearInterrupt: self._clear_interrupt,
            Kill: self._kill,
            StartWorkers: self._note_start,
            Dismiss: self._dismiss,
        }
        self._replies: dict[int, Callable[[int, Any, Any], None]] = {
            READY: self._ready,
            FAILED_START: self._failed_start,
            FAILED: lambda id, value, took: self._answered(id, [(False, value)], took),
            PARTS: self._answered,
            LEAVING: self._leaving,
            LOOK: self._look,
            ALL_DONE: self._answered,
        }

    # -- what the scheduler asks for -------------------------------------------------------------------------------

    def send(self, action: Send) -> list[Action] | None:
        """Send a task to a worker."""
        id, place, task = action
        try:
            handle = self.handles[id]
            payload = task.payload if task.batch is None else self.workers.pack(tuple(task.batch))[0]
            if handle.lent:
                handle.call_in(self.channels.note)
            handle.channel.send(place, payload)
        except Exception as error:  # noqa: BLE001  (no memory: that task cannot be sent now)
            return self.scheduler.not_sent(id, place, error, monotonic())
        return None

    def send_all(self, action: SendAll) -> None:
        """Send tasks to a worker, as many as can be by one step."""
        id, tasks = action
        handle, sent = self.handles.get(id), 0
        if handle is not None:
            if handle.lent:
                handle.call_in(self.channels.note)
            sent = handle.channel.send_all(tasks)
        for place, task in tasks[sent:]:
            self.send(Send(id, place, task))

    def _take_back(self, action: TakeBack) -> list[Action]:
        handle = self.handles.get(action.worker)
        places, has_more = ([], False) if handle is None else handle.take_back(action.most, monotonic())
        return self.scheduler.taken_back(action, places, has_more, monotonic())

    def _split_batch(self, action: SplitBatch) -> list[Action]:
        begun = self.handles[action.worker].word.close_batch(action.place)
        return self.scheduler.batch_split(action.worker, action.place, begun, monotonic())

    def _interrupt(self, action: Interrupt) -> None:
        self.handles[action.worker].interrupt(action.place, action.why)

    def _clear_interrupt(self, action: ClearInterrupt) -> None:
        self.handles[action.worker].word.clear()

    def _kill(self, action: Kill) -> list[Action] | None:
        handle = self.handles.get(action.worker)
        if handle is None:  # a Ctrl-C came before `_note_start`
            error = ProcessError("it was not started")
            return self.scheduler.worker_failed_to_start(action.worker, error, monotonic(), False)
        handle.call_in(self.channels.note)
        handle.kill(action.gently)
        return None

    def _dismiss(self, action: Dismiss) -> list[Action] | None:
        handle = self.handles.get(action.worker)
        if handle is None:
            return self._kill(Kill(action.worker, True))
        handle.dismiss()
        return None

    def _note_start(self, action: StartWorkers) -> None:
        # In an order in which a Ctrl-C leaves no worker that nobody hears, and no handle that nobody starts.
        self._lacks_threads = not self._has_threads
        self._to_start.append(action.workers)
        for id in action.workers:
            self.handles[id] = WorkerHandle(id)

    # -- starting --------------------------------------------------------------------------------------------------

    def _start_next(self, workers: tuple[int, ...]) -> None:
        handles = [self.handles.get(id) for id in workers]
        self._start_some([handle for handle in handles if handle is not None and not handle.is_started])

    def _start_some(self, handles: list[WorkerHandle]) -> None:
        with HeldBack():
            try:
                self.workers.start(handles, self.size, self._started, self._not_started, self._start_threads)
            except BaseException as error:
                for handle in handles:
                    if not handle.is_started and handle.id in self.handles:
                        self._not_started(handle, error)
                raise

    def _started(self, handle: WorkerHandle) -> None:
        with self.lock:
            handle.is_started = True
            if handle.is_dismissed:
                handle.dismiss()
            if handle.doom is not None:
                handle.kill(handle.doom)
            if handle.is_ready:
                self.perform(self.scheduler.worker_ready(handle.id, monotonic()))
        self._monitor.wake()

    def _not_started(self, handle: WorkerHandle, error: BaseException) -> None:
        if handle.is_running():  # a Ctrl-C came behind its start
            self._started(handle)
            return
        if self._errors is not None:
            self._errors.append(error)
        refused = isinstance(error, OSError | MemoryError | RecursionError) or not isinstance(error, Exception)
        error = self._translated(error)
        with self.lock:
            self.workers.remove(handle.id)
            self.perform(self.scheduler.worker_failed_to_start(handle.id, error, monotonic(), refused))

    # -- hearing ---------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        with self.lock:
            self.perform(self.scheduler.tick(monotonic()))

    def hear(self, id: int, opened: bool, message: Any) -> None:
        """Deal with what a worker has said, or with a note of the pool's own."""
        if not opened:  # what cannot be read is its call's error
            self._answered(id, [(False, message)], None)
        elif message is not None:
            kind, value, took = message
            message = None
            if kind == DONE:
                self._answered(id, [(True, value)], took)
            else:
                self._replies[kind](id, value, took)
        elif id:
            self._ended(id)

    def _answered(self, id: int, outcomes: Sequence[Any], took: float | None) -> None:
        more = self._has_more or self.channels.has_more()
        with self.lock:
            if self._inbox:
                self.empty_inbox()
            if id:
                self.perform(self.scheduler.answered(id, outcomes, monotonic(), took, more))
            else:
                self.perform(self.scheduler.answered_each(outcomes, monotonic(), more))

    def _ready(self, id: int, value: Any, took: Any) -> None:
        handle = self.handles.get(id)
        if handle is None:
            return
        handle.is_ready = True
        with self.lock:
            self.perform(self.scheduler.worker_ready(id, monotonic()))

    def _failed_start(self, id: int, value: Any, took: Any) -> None:
        handle = self.handles.get(id)
        if handle is not None:
            handle.error = Closed(lambda: pickle.loads(value))

    def _leaving(self, id: int, value: Any, took: Any) -> None:
        with self.lock:
            self.perform(self.scheduler.worker_leaves(id, monotonic()))

    def _look(self, id: int, value: Any, took: Any) -> None:
        self._looks = False
        self._tick()

    def _ended(self, id: int) -> None:
        """Deal with the end of a worker: what it ran is lost, the rest is for others."""
        handle = self.handles.get(id)
        if handle is None:
            return
        with self.lock:
            if handle.call_in(self.channels.note):
                self.channels.note(id)  # again, behind what it may have said
                return
            has_work = not handle.is_ready or self.scheduler.running(id) is not None
        error = handle.reap() if has_work else ProcessError("the worker has ended")
        handle.process.join()
        was_killed = isinstance(error, ProcessDied) and error.signal is not None
        with self.lock:
            handle.call_in(self.channels.note)  # it may have been sent something meanwhile
            load = self.scheduler.workers.get(id)
            untaken = handle.not_begun(() if load is None else load.tasks)
            task = self.scheduler.running(id, untaken)
            if task is not None and not has_work:  # it was sent something meanwhile
                error = handle.reap()
            if isinstance(error, ProcessDied) and task is not None:
                error.task = task.name or None
                error.args = (error._sentence(),)
            error = self._translated(error)
            actions = self.scheduler.worker_ended(id, untaken, error, monotonic(), was_killed)
            self.workers.remove(id)
            self.perform(actions)

    def _cannot_watch(self, error: BaseException) -> None:
        report("a pool cannot watch its workers")
        self.fail(error)


class ProcessCalls(ProcessWorkers):
    """The part that takes calls."""

    pack_function = staticmethod(dumps_function)

    def takes_calls(self) -> bool:
        """Whether one may be sent at once: nothing is to be done before."""
        return self._has_threads and self.state == RUN and not self._inbox

    def add_call(self, job: Any, function: Any, args: Any, options: ResolvedOptions, is_awaited: bool = False) -> Any:
        """Submit a call; return its task. Raises what pickling raises, and ValueError.

        If this thread waits for it (`is_awaited`), what came of it may be there already: then that is returned, in a
        tuple, else None: a task holds on to its arguments, and whoever waits, to the error that comes.
        """
        packed = self.pack_function(function)
        try:
            payload, _ = self.pack((packed, CALL, args))
        except Exception as error:
            from polyproc._pickling.diagnosis import in_callers_words

            in_callers_words(error, (r"obj\[2\]\[0\]", "args"), (r"obj\[2\]\[1\]", "kwargs"))
            raise
        is_plain = type(function) is FunctionType or type(function) is BuiltinFunctionType
        name = function.__qualname__ if is_plain else function_name(function)
        task = QueuedTask(job, 0, payload, name, options)
        if is_awaited and self.workers.call_alone is not None:
            found = self.workers.call_alone(self, task)
            if found is not task:
                return found
        if self.state == RUN and self._has_threads and self.scheduler.can_wait(name):
            # Whoever has the lock next submits it, or the engine's thread, which the first one wakes.
            self._inbox.append(task)
            if len(self._inbox) == 1:
                self.channels.note(0)
            if self.state != RUN:
                self.event("looked")  # the pool was closed meanwhile: it is refused
        else:
            self.submit([task])
        return None if is_awaited else task

    def add_tasks(self, job: Any, first: int, messages: Iterable[Any], name: str, options: ResolvedOptions) -> None:
        """Submit tasks of a job, from chunk `first` on. One that cannot be pickled fails."""
        tasks, total = list[QueuedTask](), 0
        for index, message in enumerate(messages, first):
            try:
                payload, size = self.pack(message)
            except Exception as error:  # noqa: BLE001  (told where the result is waited for, as in the standard library)
                from polyproc._pickling.diagnosis import in_callers_words

                in_callers_words(error, ITEM)
                self.refuse(job, 1, error, index)
                continue
            tasks.append(QueuedTask(job, index, payload, name, options))
            total += size
            if len(tasks) >= BLOCK or total >= BLOCK_BYTES:  # workers can begin
                self.submit(tasks)
                tasks, total = [], 0
        if tasks:
            self.submit(tasks)

    def add_chunks(
        self, job: Any, function: Any, kind: int, chunks: Sequence[Any], name: str, options: ResolvedOptions
    ) -> None:
        """Submit the chunks of a map: many short ones travel together, once it shows that they are short."""
        start = 0
        while start < len(chunks):
            size = 1 if options.are_for_one else self.scheduler.assignments.batch_size(len(chunks) - start, name)
            if size > 1:
                stop = start + size
                some = tuple(map(chunks.__getitem__, range(start, stop)))
                try:
                    batch = Batch(function, kind | BATCH, 0, size, dumps_to_keep(some))
                except Exception:  # noqa: BLE001  (one of them: they are sent one by one)
                    size = 1
                else:
                    self.submit([QueuedTask(job, start, None, name, options, batch)])
            if size == 1:
                stop = min(start + BLOCK, len(chunks))
                messages = ((function, kind, chunks[index]) for index in range(start, stop))
                self.add_tasks(job, start, messages, name, options)
            start = stop


class ProcessPoolEngine(ProcessCalls):
    """A pool of processes.

    Args:
        config: what it is to be.
        translated: returns a worker's death, or why none can be started, as the caller is told.
    """

    def __init__(self, config: PoolConfig, translated: Callable[[Any], BaseException] = lambda error: error) -> None:
        self._leader = Leader(self._serve, lambda: self._monitor.watch())
        super().__init__(config, translated)
        if not hasattr(type(self), "pack"):
            self.pack = self.workers.pack
        self._threads_lock = threading.RLock()
        self._is_closed = self._is_finished = False

    # -- called by pools -------------------------------------------------------------------------------------------

    @property
    def processes(self) -> list[Any]:
        """The process objects of the workers that stay."""
        with self.lock:
            staying = [worker.id for worker in self.scheduler.staffing.staying()]
            handles = [self.handles[id] for id in staying if id in self.handles]
        return [handle.process for handle in handles if handle.is_started]

    @property
    def thread(self) -> threading.Thread:
        """The engine's thread, for now."""
        return self._leader.thread

    @property
    def is_started(self) -> bool:
        """Whether there are threads."""
        return self.thread.ident is not None

    def start(self) -> None:
        """Start the workers that there are from the beginning. Raises what starting a process raises."""
        errors = self._errors = []
        try:
            with self.lock:
                self.perform(self.scheduler.tick(monotonic()))
            if not self._to_start:
                self._to_start = collections.deque([()])  # no worker; but a fork server for those to come
            self._start_workers()
            if errors:
                raise errors[0]
            self._errors = None
            self._start_threads()
        except BaseException:
            with HeldBack():
                self.state = TERMINATE
                with self.lock:
                    self.recover()
                self._close()
            raise

    def join(self) -> None:
        """Wait until all has ended, what is called back too, unless it was terminated."""
        self._leader.join()
        if self.state != TERMINATE and self.is_started:
            self.outcomes.wait()

    def follow_up(self) -> None:
        """After an event, without the lock: start workers, and see that the engine's thread does what is left."""
        if self._to_start or self._lacks_threads:
            try:
                self._start_workers()
            finally:  # whatever was raised here, by a Ctrl-C or a warning: there are calls, and somebody has to hear
                # Not before the workers that another thread starts: those that are forked see the program as it is now.
                if self._lacks_threads and not is_held(self._starting):
                    self._start_threads()
        has_more = self.outcomes.waiting or self._orders or self._inbox or self.has_ended
        if has_more or self.scheduler.next_tick() < self._until:
            self.wake()

    def _start_threads(self) -> None:
        if self._threads_lock._is_owned():  # type: ignore[attr-defined]  # by what a collection of garbage brings here
            return
        with HeldBack(), self._threads_lock:
            if not self._is_closed:
                self._monitor.start()
                start_thread(self.thread)
            self._has_threads, self._lacks_threads = True, False

    # -- the engine's thread ---------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Wake the engine's thread, or do what it would do, if there is none."""
        if self._lacks_threads and not is_held(self._starting):  # a Ctrl-C came before they were started
            self._start_threads()
        if self.is_started and not self._is_finished:
            self.channels.note(0)
        elif not self.lock._is_owned():  # type: ignore[attr-defined]
            self.carry_out()
            self.outcomes.deliver()
            if self.has_ended:
                self._close()

    def _serve(self) -> None:
        failures, turn = 0, threading.current_thread()
        while not self.has_ended:
            try:
                self._step()
                if self._leader.turn is not turn:
                    return
            except BaseException as error:  # noqa: BLE001  (the last resort: nobody waits for ever, and it is told loudly)
                report("a pool's thread failed")
                failures += 1
                self._broken_by, self.state = error, TERMINATE
                for handle in list(self.handles.values()):
                    handle.is_noted = False  # the note of its end may be what could not be heard
                self._monitor.wake()
                self._orders.append(lambda now, error=error: self.scheduler.broken_off(now, error))  # type: ignore[misc]
                if failures > 10:
                    self._give_up(error)
        self._deliver_last(turn)
        if self._leader.turn is turn:
            self._close()

    def _deliver_last(self, turn: object) -> None:
        """Hand out what is left when there are no workers; of a pool that was terminated, for a while."""
        leader, until = self._leader, monotonic() + _LAST
        while self.outcomes.are_left() and leader.turn is turn and (self.state != TERMINATE or monotonic() < until):
            self.outcomes.deliver(leader.away)

    def _hand_out_more(self) -> None:
        if self.scheduler.waits_for_more and not self.channels.has_more():
            with self.lock:
                self.perform(self.scheduler.all_heard(monotonic()))
        if self._inbox:
            with self.lock:
                self.empty_inbox()

    def _take_some(self, timeout: float) -> list[tuple[int, bool, Any]]:
        if not self._found:  # else an error has come between
            self._found = self.channels.take_some(timeout, BURST)
            self._found.reverse()
        return self._found

    def _step(self) -> None:
        """Hear workers, or do what is due."""
        self._until = NEVER
        with self.lock:
            until = self._until = self.scheduler.next_tick()
            wants_no_more = self.state != RUN and self.scheduler.wants_no_more
        timeout = MAX_WAIT if until == NEVER else min(max(until - monotonic(), 0.0), MAX_WAIT)
        timeout = 0.0 if self.outcomes.are_left() or self._inbox or self.scheduler.waits_for_more else timeout
        if wants_no_more:
            self.workers.want_no_more(self._starting)
        if self._monitor.due != NEVER:
            timeout = self._monitor.relieve(timeout, wants_no_more)
        found = self._take_some(timeout)
        if not found:
            if timeout or until != NEVER:
                self._monitor.check()
                self._see_to_the_end()
                self._tick()
        else:
            while found:
                id, opened, message = found.pop()
                self._has_more = bool(found)
                self.hear(id, opened, message)
                del message  # a result is its receiver's alone
            if until != NEVER and not self._looks and until <= monotonic():
                self._looks = True
                self.channels.note(0, (LOOK, None, None))  # behind all answers that are there
        self._hand_out_more()
        if self._orders:
            self.carry_out()
        if self._to_start:
            self._start_workers()
        if self.feeders and not self.channels.has_more():
            for feeder in tuple(self.feeders):
                feeder.flush_if_short()
        if self.outcomes.are_left():
            self.outcomes.deliver(self._leader.away)

    # -- end -------------------------------------------------------------------------------------------------------

    def _see_to_the_end(self) -> None:
        """Do what a Ctrl-C has kept a caller, or the owner's finalizer, from doing."""
        known = self.scheduler.state
        if self.scheduler.unperformed:
            self.event("looked")
        elif self.state == TERMINATE and known < TERMINATING:
            self.terminate()
        elif self.state == CLOSE and known < CLOSING:
            self.close()
        elif self.state == RUN and self._owner() is None:
            self._let_go()

    def _give_up(self, error: BaseException) -> None:
        """Settle all that is open, whatever state the scheduler is in."""
        for task in (*self._inbox, *self.scheduler.open):
            self.refuse(task.job, task.count, error, task.index)
        self.scheduler.open.clear()
        with self.lock:
            for handle in list(self.handles.values()):
                handle.call_in(self.channels.note)
        self.has_ended = True
        self.outcomes.deliver()

    def _close(self) -> None:
        """Give up all that is left."""
        with HeldBack():
            with self._threads_lock:
                self._is_closed = True  # from now on no thread is started
            with self._starting:  # another thread may be about to start workers, or the fork server of those to come
                if self._is_finished:
                    return
                for handle in list(self.handles.values()):
                    if handle.is_started:
                        handle.process.kill()
                        handle.process.join()
                self._monitor.close()
                self.workers.close()
                self.has_ended = self._is_finished = True  # from now on, callers do what the thread would do
                self._errors = self._broken_by = None
        self.carry_out()
        if self._inbox:
            self.event("looked")
        if self.state == TERMINATE:
            self.outcomes.give_up()
        self.outcomes.deliver()
