"""The engine of a pool of threads: nothing is pickled, and what runs cannot be ended from outside."""

from __future__ import annotations

import os
import threading
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter
from types import GeneratorType

from polyproc._base.errors import report
from polyproc._base.typing import Any, Callable, Sequence
from polyproc._platform.handles import HeldBack, is_held, pause, start_thread
from polyproc._scheduling.actions import (
    Action,
    Dismiss,
    ResolvedOptions,
    Send,
    SendAll,
    SplitBatch,
    StartWorkers,
    TakeBack,
)
from polyproc._scheduling.assignments import NEVER, TERMINATE, QueuedTask
from polyproc._scheduling.deaths_and_deadlines import MAX_REFUSED_STARTS, StaffingConfig
from polyproc._scheduling.scheduler import Scheduler
from polyproc._workers.engine import PoolEngine
from polyproc._workers.interrupter import leave_copy
from polyproc._workers.worker import CALL, call, function_name


class _Inbox:
    """What one thread of a pool is to do."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[tuple[int, QueuedTask] | None] = SimpleQueue()
        self.put = self._tasks.put
        self.get = self._tasks.get

    def dismiss(self) -> None:
        """Make `get` return None when nothing is left."""
        self._tasks.put(None)

    def take_back(self, most: int) -> tuple[list[int], bool]:
        """Remove up to `most` tasks; return their places, and whether there are more."""
        places: list[int] = []
        while len(places) < most:
            try:
                found = self._tasks.get_nowait()
            except Empty:  # the thread has it
                break
            if found is None:
                self.dismiss()
                return places, False
            places.append(found[0])
        return places, not self._tasks.empty()


class _Helper:
    """A thread, from when it is first needed, that calls a function each time somebody rings, until the end."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._work_came: SimpleQueue[bool] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ring(self) -> bool:
        """Let the thread call the function; return whether there is, or can be, a thread that does."""
        if not self._is_there():  # a Ctrl-C may have come as it was made
            with self._lock:
                if not self._is_there() and not self._start():
                    return False
        self._work_came.put(True)
        return True

    def _start(self) -> bool:
        self._thread = self._thread or threading.Thread(target=self._run, name="polyproc-pool", daemon=True)
        try:
            with HeldBack():
                start_thread(self._thread)
        except (RuntimeError, MemoryError):  # there can be no more
            return False
        return True

    def end(self) -> None:
        """End it after what it does."""
        if self._is_there():
            self._work_came.put(False)

    def _is_there(self) -> bool:
        return self._thread is not None and self._thread.ident is not None

    def _run(self) -> None:
        while self._work_came.get():
            try:
                self._act()
            except BaseException:  # noqa: BLE001  (others wait for this thread)
                report("a pool's thread failed")


class ThreadPoolEngine(PoolEngine):
    """A pool of threads. What a call raises is its error, SystemExit too.

    Args:
        size: how many threads.
        initial: what each calls first, and its arguments.
    """

    def __init__(self, size: int, initial: tuple[Callable[..., object] | None, tuple[Any, ...]]) -> None:
        super().__init__(Scheduler(StaffingConfig(size), None, max_behind=1, can_kill=False))
        self._initial = initial
        self._pid = os.getpid()
        self._inboxes: dict[int, _Inbox] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._started = 0
        self._trying = threading.RLock()  # to start one, where none could be
        self._refusal: BaseException | None = None  # why a thread could not be started
        self._own: set[int] = set()  # the threads of the pool, while they serve
        self._helper = _Helper(self._do_what_is_left)  # does what callers would have to do
        self._caller = _Helper(self.outcomes.deliver)  # calls back: no thread that has calls to run does
        self._perform_other |= {
            TakeBack: self._take_back,
            SplitBatch: lambda action: None,
            StartWorkers: self._note_start,
            Dismiss: self._dismiss,
        }

    @property
    def processes(self) -> list[Any]:
        """The threads that stay."""
        with self.lock:
            staying = [worker.id for worker in self.scheduler.staffing.staying()]
            return [self._threads[id] for id in staying if id in self._threads]

    def start(self) -> None:
        """Start the threads. Raises RuntimeError when none can be started."""
        self.event("tick")
        if self._refusal is not None and not self._threads:
            self.terminate()
            raise self._refusal

    def join(self) -> None:
        """Wait until all threads have ended, and with them what they run."""
        while threads := [thread for thread in list(self._threads.values()) if thread.ident is not None]:
            for thread in threads:
                if thread is threading.current_thread():
                    return
                thread.join()
        if self.state != TERMINATE:
            self.outcomes.wait()

    def pack_function(self, function: Any, /) -> Any:
        """Return what stands for a function in a task: itself."""
        return function

    def pack(self, message: Any, /) -> tuple[Any, int]:
        """Return a message, and 0: nothing is pickled."""
        return message, 0

    def add_call(self, job: Any, function: Any, args: Any, options: ResolvedOptions, is_awaited: bool = False) -> Any:
        """Submit a call. Raises ValueError."""
        task = QueuedTask(job, 0, (function, CALL, args), function_name(function), options)
        self.submit([task])
        return None if is_awaited else task

    def add_chunks(
        self, job: Any, function: Any, kind: int, chunks: Sequence[Any], name: str, options: ResolvedOptions
    ) -> None:
        """Submit the chunks of a map."""
        self.submit([QueuedTask(job, i, (function, kind, chunk), name, options) for i, chunk in enumerate(chunks)])

    # -- what the scheduler asks for -------------------------------------------------------------------------------

    def send(self, action: Send) -> None:
        """Give a thread a task."""
        self._inboxes[action.worker].put((action.place, action.task))

    def send_all(self, action: SendAll) -> None:
        """Give a thread tasks."""
        for place, task in action.tasks:
            self._inboxes[action.worker].put((place, task))

    def _take_back(self, action: TakeBack) -> list[Action]:
        places, has_more = self._inboxes[action.worker].take_back(action.most)
        return self.scheduler.taken_back(action, places, has_more, monotonic())

    def _dismiss(self, action: Dismiss) -> None:
        inbox = self._inboxes.get(action.worker)
        if inbox is not None:
            inbox.dismiss()
        else:  # a Ctrl-C came before `_note_start`
            self.scheduler.worker_failed_to_start(action.worker, RuntimeError("not started"), monotonic(), False)

    def _note_start(self, action: StartWorkers) -> None:
        for id in action.workers:
            self._inboxes[id] = _Inbox()
            self._to_start.append(id)

    def follow_up(self) -> None:
        """After an event, without the lock: start threads, and do what is left."""
        try:
            self._start_workers()
        finally:  # what a Ctrl-C has kept from being started is for another thread
            if self._to_start and not is_held(self._starting):
                self.wake()
        # Not in the middle of that, nor of a start: each would be tried again from within the one before, without end.
        if not self._threads and not self._starting._is_owned() and not self._trying._is_owned():  # type: ignore[attr-defined]
            with self._trying:
                self._try_again()
        super().follow_up()

    def _try_again(self) -> None:
        """Try a few times more, where no thread could be started; then what waits has failed."""
        staffing = self.scheduler.staffing
        for _ in range(MAX_REFUSED_STARTS):
            if self._threads or staffing.retry_at == NEVER:
                break
            pause(max(staffing.retry_at - monotonic(), 0.0))
            self.event("tick")

    def _start_next(self, id: int) -> None:
        if id not in self._inboxes:  # it was started, and has ended
            return
        if id not in self._threads:
            self._started += 1
            name = f"polyproc-pool-{self._started}"
            self._threads[id] = threading.Thread(target=self._work, args=(id,), name=name, daemon=True)
        try:
            with HeldBack():
                start_thread(self._threads[id])
        except (RuntimeError, MemoryError) as error:
            del self._threads[id]
            self._refusal = error
            self.event("worker_failed_to_start", id, error)

    def wake(self) -> None:
        """Do what is left: in this thread if it is one of the pool's, else in another.

        A caller may be broken off by a Ctrl-C, and what it was about to hand out would be lost.
        """
        if self.lock._is_owned():  # type: ignore[attr-defined]
            return
        if threading.get_ident() in self._own or self.has_ended or not self._helper.ring():
            self._do_what_is_left()

    def _do_what_is_left(self) -> None:
        self._start_workers()
        self.carry_out()
        if self.state == TERMINATE:
            self.outcomes.give_up()
        self.outcomes.settle()
        if self.outcomes.are_left() and not self._caller.ring():
            self.outcomes.deliver()
        if self.has_ended:
            self._helper.end()
            self._caller.end()

    def event(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Do what is due, since no thread looks at the clock; then tell the scheduler what has happened."""
        if name != "tick" and not self.lock._is_owned() and self.scheduler.next_tick() <= monotonic():  # type: ignore[attr-defined]
            super().event("tick")
        super().event(name, *args, **kwargs)

    # -- a thread --------------------------------------------------------------------------------------------------

    def _work(self, id: int) -> None:
        self._own.add(threading.get_ident())
        initializer, initargs = self._initial
        error: BaseException | None = None
        try:
            made: Any = None
            if initializer is not None and isinstance(made := initializer(*initargs), GeneratorType):
                next(made)
            self._serve(id)
            if isinstance(made, GeneratorType):
                next(made, None)
        except BaseException as raised:  # noqa: BLE001  (told by each call, if no thread can be made ready)
            error = raised
        try:
            self.event("worker_ended", id, [], error or RuntimeError("the thread has ended"))
            with self.lock:
                del self._inboxes[id], self._threads[id]
        except BaseException:  # noqa: BLE001  (it is told, and the pool has ended)
            report("a pool's thread failed")
        self._own.discard(threading.get_ident())

    def _serve(self, id: int) -> None:
        inbox = self._inboxes[id]
        self.event("worker_ready", id)
        while (found := inbox.get()) is not None:
            task, found = found[1], None
            began = perf_counter()
            try:
                outcome = True, call(*task.payload)
            except BaseException as error:  # noqa: BLE001  (that task's error, not the thread's end)
                outcome = False, error
            del task
            if os.getpid() != self._pid:
                leave_copy()
            self.event("answered", id, [outcome], took=perf_counter() - began)
            del outcome
