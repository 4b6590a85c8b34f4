"""What an engine does with its processes: starts them, performs what the scheduler asks of them, hears them."""

from __future__ import annotations

import collections
import pickle
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from polyproc._errors import ProcessDied, ProcessError
from polyproc._scheduling.actions import (
    Action,
    ClearInterrupt,
    Dismiss,
    Interrupt,
    Kill,
    Send,
    SplitBatch,
    StartWorkers,
    TakeBack,
)
from polyproc._scheduling.scheduler import Scheduler
from polyproc._scheduling.staffing import StaffingConfig
from polyproc._workers.channels import MAX_BEHIND, pack
from polyproc._workers.engine import PoolEngine
from polyproc._workers.monitor import Monitor
from polyproc._workers.outcomes import report
from polyproc._workers.worker import DONE, FAILED, FAILED_START, LEAVING, LOOK, PARTS, READY
from polyproc._workers.worker_set import PoolConfig, WorkerHandle, WorkerSet

_ALL = 1 << 16


class ProcessWorkers(PoolEngine):
    """The part of an engine that deals with its processes."""

    def __init__(self, config: PoolConfig, translated: Callable[[BaseException], BaseException]) -> None:
        starts_together = config.is_executors and config.idle_timeout is None and config.forks
        staffing = StaffingConfig(config.size, config.on_demand, starts_together, config.idle_timeout)
        super().__init__(Scheduler(staffing, config.max_tasks, MAX_BEHIND))
        self._translated = translated
        self.workers = WorkerSet(config)
        self.handles = self.workers.handles
        self.channels = self.workers.channels
        self._monitor = Monitor(self.handles, self.channels.note, self._cannot_watch)
        self._to_start: collections.deque[tuple[int, ...]] = collections.deque()
        self._starting = threading.Lock()
        self._has_threads = False
        self._lacks_threads = False  # whether workers were asked for, and nobody hears them yet
        self._first_error: BaseException | None = None
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
            DONE: self._done,
            FAILED: self._failed,
            PARTS: self._parts,
            LEAVING: self._leaving,
            LOOK: self._look,
        }

    # -- what the scheduler asks for -------------------------------------------------------------------------------

    def send(self, action: Send) -> list[Action] | None:
        """Send a task to a worker."""
        id, place, task = action
        try:
            payload = task.payload if task.batch is None else pack(tuple(task.batch))[0]
            self.handles[id].channel.send(place, payload)
        except Exception as error:  # noqa: BLE001  (no memory: that task cannot be sent now)
            return self.scheduler.not_sent(id, place, error, monotonic())
        return None

    def _take_back(self, action: TakeBack) -> list[Action]:
        handle = self.handles.get(action.worker)
        found = handle.channel.take_back(action.most) if handle is not None and handle.is_started else None
        if found is not None and handle is not None and handle.is_dismissed:
            handle.dismiss()  # that it should end may be among what was taken back
        places, has_more = found or ([], False)
        return self.scheduler.taken_back(action, places, has_more, monotonic())

    def _split_batch(self, action: SplitBatch) -> list[Action]:
        begun = self.handles[action.worker].word.close_batch(action.place)
        return self.scheduler.batch_split(action.worker, action.place, begun, monotonic())

    def _interrupt(self, action: Interrupt) -> None:
        self.handles[action.worker].interrupt(action.place, action.why)

    def _clear_interrupt(self, action: ClearInterrupt) -> None:
        self.handles[action.worker].word.clear()

    def _kill(self, action: Kill) -> None:
        self.handles[action.worker].kill(action.gently)

    def _dismiss(self, action: Dismiss) -> None:
        self.handles[action.worker].dismiss()

    def _note_start(self, action: StartWorkers) -> None:
        for id in action.workers:
            self.handles[id] = WorkerHandle(id)
        self._to_start.append(action.workers)
        self._lacks_threads = not self._has_threads

    # -- starting --------------------------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        """Start what is to be started. If another thread does, it also starts what comes meanwhile."""
        while self._to_start and self._starting.acquire(blocking=False):
            try:
                while self._to_start:
                    ids = self._to_start.popleft()
                    self._start_some([self.handles[id] for id in ids])
            finally:
                self._starting.release()

    def _start_some(self, handles: list[WorkerHandle]) -> None:
        try:
            self.workers.start(handles, self.size, self._started, self._not_started)
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
        self._monitor.wake()

    def _not_started(self, handle: WorkerHandle, error: BaseException) -> None:
        if self._first_error is None:
            self._first_error = error
        refused = isinstance(error, OSError | MemoryError)
        error = self._translated(error)
        with self.lock:
            self.workers.remove(handle.id)
            self.perform(self.scheduler.worker_failed_to_start(handle.id, error, monotonic(), refused))

    # -- hearing ---------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        with self.lock:
            self.perform(self.scheduler.tick(monotonic()))

    def _hear(self, id: int, opened: bool, message: Any) -> None:
        """Deal with what a worker has said, or with a note of the pool's own."""
        if not opened:  # a value that cannot be opened is its call's error
            self._answered(id, [(False, message)], None)
        elif message is not None:
            kind, value, took = message
            message = None
            self._replies[kind](id, value, took)
        elif id:
            self._ended(id)

    def _answered(self, id: int, outcomes: Sequence[tuple[bool, Any]], took: float | None) -> None:
        more = self.channels.has_more()
        with self.lock:
            self.perform(self.scheduler.answered(id, outcomes, monotonic(), took, more))

    def _done(self, id: int, value: Any, took: Any) -> None:
        self._answered(id, [(True, value)], took)

    def _failed(self, id: int, value: Any, took: Any) -> None:
        self._answered(id, [(False, _error_of(value))], took)

    def _parts(self, id: int, value: Any, took: Any) -> None:
        self._answered(id, [(ok, part if ok else _error_of(part)) for ok, part in value], took)

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
            handle.error = _error_of(value)

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
            has_work = not handle.is_ready or self.scheduler.running(id) is not None
        error = handle.reap() if has_work else ProcessError("the worker has ended")
        handle.process.join()
        was_killed = isinstance(error, ProcessDied) and error.signal is not None
        with self.lock:
            taken = handle.channel.take_back(_ALL)
            untaken = None if taken is None else taken[0]
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

    def _check_workers(self) -> None:
        """See to workers whose end the monitor has not told, since it cannot."""
        for handle in list(self.handles.values()):
            if handle.is_started and not handle.is_noted and not handle.process.is_alive():
                handle.is_noted = True
                self.channels.note(handle.id)

    def _cannot_watch(self, error: BaseException) -> None:
        report("a pool cannot watch its workers")
        self.fail(error)


def _error_of(packed: bytes) -> Any:
    try:
        return pickle.loads(packed)
    except BaseException as error:  # noqa: BLE001  (an error that cannot be opened is an error, too)
        return error
