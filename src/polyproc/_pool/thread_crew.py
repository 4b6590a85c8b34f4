"""The workers of a ThreadPool: threads that take tasks from one queue, in the shape of a crew of processes."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from polyproc._errors import ProcessError
from polyproc._pool.jobs import CLOSE, TERMINATE, Desk
from polyproc._pool.worker import call

Message = tuple[Callable[..., Any], int, Any]


class ThreadCrew(Desk):
    """Threads. Nothing is pickled; what a call raises is its error, SystemExit too."""

    def __init__(self, size: int, initial: tuple[Any, ...]) -> None:
        super().__init__()
        self._initial = initial
        self._tasks: queue.SimpleQueue[tuple[int, int, Message] | None] = queue.SimpleQueue()
        self.processes = [
            threading.Thread(target=self._work, name=f"polyproc-pool-{number}", daemon=True) for number in range(size)
        ]
        self.thread = self

    def start(self) -> None:
        """Start the threads."""
        for thread in self.processes:
            thread.start()

    def join(self) -> None:
        """Wait until all threads have ended, and with them what they run."""
        for thread in self.processes:
            thread.join()

    @staticmethod
    def pack_function(function: Any) -> Any:
        """Return what stands for a function in a task: itself."""
        return function

    def add_tasks(self, number: int, first: int, messages: Iterable[Any], name: str) -> int:
        """Add tasks of a job, from index `first` on; return how many."""
        index = first
        for message in messages:
            with self.lock:
                if self.error is None:
                    self._tasks.put((number, index, message))
                else:
                    self.jobs.settle(number, index, False, self.error)
            index += 1
        if self.error is not None:
            self.tell()
        return index - first

    def add_chunks(self, number: int, function: Any, kind: int, chunks: Sequence[Any], name: str) -> None:
        """Add the chunks of a map."""
        self.add_tasks(number, 0, ((function, kind, chunk) for chunk in chunks), name)

    def wake(self) -> None:
        """Look at the state: end the threads when nothing is left for them, fail what waits when terminated."""
        with self.lock:
            if self.state == TERMINATE:
                self._drop(ProcessError("the pool was terminated"))
            elif self.state != CLOSE or self.jobs:
                return
            for _ in self.processes:
                self._tasks.put(None)
        self.tell()

    def _drop(self, error: BaseException) -> None:
        self.error = self.error or error
        for _ in itertools.count():
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                return
            if task is not None:
                self.jobs.settle(task[0], task[1], False, self.error)

    def _work(self) -> None:
        initializer, initargs = self._initial
        if initializer is not None:
            try:
                initializer(*initargs)
            except BaseException as error:  # noqa: BLE001  (told by each call, from now on)
                with self.lock:
                    self._drop(error)
                self.tell()
                return
        while (task := self._tasks.get()) is not None:
            number, index, message = task
            try:
                outcome = True, call(*message)
            except BaseException as error:  # noqa: BLE001  (that task's error, not the thread's end)
                outcome = False, error
            with self.lock:
                self.jobs.settle(number, index, *outcome)
            del task, message, outcome
            self.tell()
