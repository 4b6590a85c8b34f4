"""The engine of a pool of processes: calls go in from any thread, one thread hears the workers and hands out outcomes.

No lock is shared between workers that one of them could die with for good (channels.py). The threads hold no reference
to the pool that its users hold. A second thread watches for the workers' ends, and notes each behind all that the
worker had said (monitor.py).
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from types import FunctionType
from typing import Any

from polyproc._pickling.blame import in_callers_words
from polyproc._pickling.pickler import dumps_function, dumps_to_keep
from polyproc._scheduling.assignments import NEVER
from polyproc._scheduling.tasks import Batch, QueuedTask, ResolvedOptions
from polyproc._workers.channels import pack
from polyproc._workers.engine import TERMINATE, function_name
from polyproc._workers.outcomes import report
from polyproc._workers.process_workers import ProcessWorkers
from polyproc._workers.worker import BATCH, CALL, LOOK
from polyproc._workers.worker_set import PoolConfig

# Tasks of one job that are packed before they are submitted, and bytes.
BLOCK = 64
BLOCK_BYTES = 16384
ITEM = r"obj\[2\]\[\d+\]", "item"  # of a chunk: see blame.py
MAX_WAIT = 2.0  # seconds without a look at the workers


def _same(error: BaseException) -> BaseException:
    return error


class ProcessPoolEngine(ProcessWorkers):
    """A pool of processes.

    Args:
        config: what it is to be.
        translated: returns a worker's death, or why none can be started, as the caller is told.
    """

    pack = staticmethod(pack)

    def __init__(self, config: PoolConfig, translated: Callable[[BaseException], BaseException] = _same) -> None:
        super().__init__(config, translated)
        self.thread = threading.Thread(target=self._serve, name="polyproc-pool", daemon=True)
        self._threads_lock = threading.Lock()
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
    def is_started(self) -> bool:
        """Whether there are threads."""
        return self.thread.ident is not None

    def start(self) -> None:
        """Start the workers that there are from the beginning. Raises what starting a process raises."""
        try:
            with self.lock:
                self.perform(self.scheduler.tick(monotonic()))
            if not self._to_start:
                self._to_start = collections.deque([()])  # no worker; but a template for those to come
            self._start_workers()
            if self._first_error is not None:
                raise self._first_error
            self._start_threads()
        except BaseException:
            self.state = TERMINATE
            with self.lock:
                self.perform(self.scheduler.terminating(monotonic()))
            self._close()
            raise

    def join(self) -> None:
        """Wait until all has ended."""
        if self.is_started and self.thread is not threading.current_thread():
            self.thread.join()

    def pack_function(self, function: Any, /) -> Any:
        """Return the pickle of a function. Raises what pickling raises."""
        return dumps_function(function)

    def add_call(self, job: Any, function: Any, args: Any, options: ResolvedOptions) -> QueuedTask:
        """Submit a call. Raises what pickling raises, and ValueError."""
        packed = self.pack_function(function)
        try:
            payload, _ = self.pack((packed, CALL, args))
        except Exception as error:
            in_callers_words(error, (r"obj\[2\]\[0\]", "args"), (r"obj\[2\]\[1\]", "kwargs"))
            raise
        name = function.__qualname__ if type(function) is FunctionType else function_name(function)
        task = QueuedTask(job, 0, payload, name, options)
        self.submit([task])
        return task

    def add_tasks(self, job: Any, first: int, messages: Iterable[Any], name: str, options: ResolvedOptions) -> None:
        """Submit tasks of a job, from chunk `first` on. One that cannot be pickled fails."""
        tasks, total = list[QueuedTask](), 0
        for index, message in enumerate(messages, first):
            try:
                payload, size = self.pack(message)
            except Exception as error:  # noqa: BLE001  (told where the result is waited for, as in the standard library)
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
            left = len(chunks) - start
            size = 1 if options.are_for_one else self.scheduler.assignments.batch_size(left, name)
            if size > 1:
                stop = start + size
                try:
                    batch = Batch(function, kind | BATCH, 0, size, dumps_to_keep(tuple(chunks[start:stop])))
                except Exception:  # noqa: BLE001  (one of them: they are sent one by one)
                    size = 1
                else:
                    self.submit([QueuedTask(job, start, None, name, options, batch)])
            if size == 1:
                stop = min(start + BLOCK, len(chunks))
                messages = ((function, kind, chunk) for chunk in chunks[start:stop])
                self.add_tasks(job, start, messages, name, options)
            start = stop

    def follow_up(self) -> None:
        """After an event, without the lock: start workers, and see that the engine's thread does what is left."""
        if self._to_start or self._lacks_threads:
            try:
                self._start_workers()
            finally:  # whatever was raised here, by a Ctrl-C or a warning: there are calls, and somebody has to hear
                # Not before the workers that another thread starts: those that are forked see the program as it is now.
                if self._lacks_threads and not self._starting.locked():
                    self._start_threads()
        if self.outcomes.waiting or self._orders or self.has_ended or self.scheduler.next_tick() < self._until:
            self.wake()

    def _start_threads(self) -> None:
        with self._threads_lock:
            if not self.is_started and not self._is_closed:
                self._monitor.start()
                self.thread.start()
            self._has_threads, self._lacks_threads = True, False

    # -- the engine's thread ---------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Wake the engine's thread, or do what it would do, if there is none."""
        if self.is_started and not self._is_finished:
            self.channels.note(0)
        elif not self.lock._is_owned():  # type: ignore[attr-defined]
            self.carry_out()
            self.outcomes.deliver()
            if self.has_ended:
                self._close()

    def _serve(self) -> None:
        failures = 0
        while not self.has_ended:
            try:
                self._step()
            except BaseException as error:  # noqa: BLE001  (the last resort: nobody waits for ever, and it is told loudly)
                report("a pool's thread failed")
                failures += 1
                self.state = TERMINATE
                if failures == 1:
                    self._orders.append(lambda now, error=error: self.scheduler.terminating(now, error))  # type: ignore[misc]
                elif failures > 10:
                    self._give_up(error)
        self._close()

    def _step(self) -> None:
        """Hear a worker, or do what is due."""
        self._until = NEVER
        with self.lock:
            until = self._until = self.scheduler.next_tick()
        timeout = MAX_WAIT if until == NEVER else min(max(until - monotonic(), 0.0), MAX_WAIT)
        found = self.channels.take(timeout)
        if found is None:
            self._check_workers()
            self._tick()
        else:
            self._hear(*found)
            found = None  # a result is its receiver's alone
            if until != NEVER and not self._looks and until <= monotonic():
                self._looks = True
                self.channels.note(0, (LOOK, None, None))  # behind all answers that are there
        if self.scheduler.waits_for_more and not self.channels.has_more():
            with self.lock:
                self.perform(self.scheduler.all_heard(monotonic()))
        if self._orders:
            self.carry_out()
        if self._to_start:
            self._start_workers()
        if self.feeders and not self.channels.has_more():
            self.flush_feeders()
        if self.outcomes.waiting:
            self.outcomes.deliver()

    # -- end -------------------------------------------------------------------------------------------------------

    def _give_up(self, error: BaseException) -> None:
        """Settle all that is open, whatever state the scheduler is in."""
        for task in list(self.scheduler.open):
            self.refuse(task.job, task.count, error, task.index)
        self.scheduler.open.clear()
        self.has_ended = True
        self.outcomes.deliver()

    def _close(self) -> None:
        """Give up all that is left."""
        with self._threads_lock:
            if self._is_closed:
                return
            self._is_closed = True
        for handle in list(self.handles.values()):
            if handle.is_started:
                handle.process.kill()
                handle.process.join()
        self._monitor.close()
        self.workers.close()
        self.has_ended = self._is_finished = True  # from now on, callers do what the thread would do
        self.carry_out()
        self.outcomes.deliver()
