"""The workers of a ThreadPool: threads that take tasks from one queue, in the shape of a crew of processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import GeneratorType
from typing import Any

from polyproc._errors import ProcessError
from polyproc._pool.jobs import CLOSE, TERMINATE, Desk
from polyproc._pool.ledger import Tally, Task
from polyproc._pool.options import PLAIN, Terms
from polyproc._pool.stats import PoolStats
from polyproc._pool.waiting import Waiting
from polyproc._pool.worker import call


class ThreadCrew(Desk):
    """Threads. Nothing is pickled; what a call raises is its error, SystemExit too."""

    def __init__(self, size: int, initial: tuple[Any, ...]) -> None:
        super().__init__()
        self.size = size
        self._initial = initial
        self._waiting: Waiting[Task] = Waiting()
        self._change = threading.Condition(self.lock)
        self._tally = Tally()
        self._busy = self._started = 0
        self.processes: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        with self.lock:
            while len(self.processes) < self.size:
                self._started += 1
                name = f"polyproc-pool-{self._started}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                thread.start()
                self.processes.append(thread)

    def join(self) -> None:
        """Wait until all threads have ended, and with them what they run."""
        for thread in list(self.processes):
            thread.join()

    @staticmethod
    def pack_function(function: Any) -> Any:
        """Return what stands for a function in a task: itself."""
        return function

    def add_call(self, number: int, message: tuple[Any, int, Any], name: str, terms: Terms) -> Task:
        """Add the one task of a job."""
        task = Task((number, 0), message, name, None, terms)
        self._open(task)
        return task

    @staticmethod
    def make_task(number: int, index: int, message: Any, name: str, terms: Terms) -> tuple[list[Task], int]:
        """Return a task of a job, and 0: nothing is pickled."""
        return [Task((number, index), message, name, None, terms)], 0

    def open_tasks(self, tasks: list[Task]) -> None:
        """Have tasks run."""
        for task in tasks:
            self._open(task)

    def add_chunks(
        self, number: int, function: Any, kind: int, chunks: Sequence[Any], name: str, terms: Terms = PLAIN
    ) -> None:
        """Add the chunks of a map."""
        self.open_tasks(
            [Task((number, i), (function, kind, chunk), name, None, terms) for i, chunk in enumerate(chunks)]
        )

    def _open(self, task: Task) -> None:
        with self._change:
            if self.error is None:
                self._waiting.append(task)
                self._change.notify()
                return
            self.jobs.fail(task, self.error)
        self.tell()

    def wake(self) -> None:
        """Look at the state: end the threads when nothing is left for them, fail what waits when terminated."""
        with self._change:
            if self.state == TERMINATE:
                self._fail_waiting(ProcessError("the pool was terminated"))
            self._change.notify_all()
        self.tell()

    def runs(self, task: Task) -> bool:
        """Say whether a thread runs a task now."""
        return task.holder is not None

    def _drop(self, task: Task) -> None:
        self._waiting.withdraw(task)  # one that runs goes on, and nobody is told

    def _drop_waiting(self, number: int | None) -> list[Task]:
        return self._waiting.withdraw_all(lambda task: number is None or task.id[0] == number)

    def resize(self, size: int) -> None:
        """Have another number of threads; those that are too many end when they have nothing."""
        with self._change:
            self.size = size
            self._change.notify_all()
        self.start()

    def stats(self) -> PoolStats:
        """Say how things stand."""
        with self.lock:
            return PoolStats(
                workers=len(self.processes),
                idle=len(self.processes) - self._busy,
                busy=self._busy,
                queued=len(self._waiting),
                done=self._tally.done,
                failed=self.jobs.failed,
                retried=self._tally.retried,
                started=self._started,
                lost=0,
                seconds=self._tally.seconds,
                slowest=self._tally.slowest,
            )

    def _fail_waiting(self, error: BaseException) -> None:
        self.error = self.error or error
        for task in list(self._waiting):
            self.jobs.fail(task, self.error)
        self._waiting.clear()

    # -- a thread --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        initializer, initargs = self._initial
        made: Any = None
        try:
            if initializer is not None and isinstance(made := initializer(*initargs), GeneratorType):
                next(made)
        except BaseException as error:  # noqa: BLE001  (told by each call, from now on)
            with self.lock:
                self._fail_waiting(error)
            self.tell()
            return
        while (task := self._take()) is not None:
            self._run(task)
            del task
            self.tell()
        if isinstance(made, GeneratorType):
            next(made, None)

    def _take(self) -> Task | None:
        """Wait for a task; None when this thread is to end."""
        with self._change:
            while True:
                if len(self.processes) > self.size:
                    self.processes.remove(threading.current_thread())
                    return None
                if self._waiting:
                    task = self._waiting.popleft()
                    task.holder = threading.get_ident(), 0
                    self._busy += 1
                    return task
                if self.state == TERMINATE or (self.state == CLOSE and not self.jobs):
                    return None
                self._change.wait()

    def _run(self, task: Task) -> None:
        begin = time.monotonic()
        try:
            success, value = True, call(*task.payload)
        except BaseException as error:  # noqa: BLE001  (that task's error, not the thread's end)
            success, value = False, error
        with self._change:
            self._busy -= 1
            self._tally.add(task, time.monotonic() - begin)
            if success:
                self.jobs.settle(*task.id, True, value)
            elif self.error is None and task.is_tried_again_after(value):
                task.attempt += 1
                task.holder = None
                self._tally.retried += 1
                self._waiting.append(task)
                self._change.notify()
            else:
                self.jobs.fail(task, value)
