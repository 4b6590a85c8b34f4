"""To raise an exception in the task that a worker runs, and in no other: the pool's side and the worker's.

The two share a cell that names a task and why it shall end. The pool writes it and sends a signal; the worker's handler
raises if it runs that very task. A worker whose cell names the task that it has just done takes no other until the pool
has cleared the cell. So whoever is killed later for not having ended that task runs that task, or none:

    pool                                     worker
    cell = N                                 send the result of N
    signal                                   while cell = N: wait
    ... grace ...                            take the next task
    a note in the queue of results
    at the note: no result of N came before it -> kill; else cell = 0

If the worker looked before the cell was set, its result was sent before the note, and the pool sees it first.
"""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

from polyproc._errors import TimeoutError as PolyprocTimeoutError
from polyproc._lazy import load
from polyproc._memory.block import allocate

# A real-time signal: programs use SIGUSR1 and SIGALRM for themselves.
SIGNAL = signal.SIGRTMAX - 3 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2
TIMED_OUT, CANCELLED = 1, 2
_POLL = 0.0005
_BYTES = 8  # two numbers of two bytes, and room


def _numbers_of(block: Any) -> memoryview:
    return memoryview(block.buffer).cast("B").cast("H")


class Cell:
    """The pool's side. It is pickled to the worker."""

    def __init__(self) -> None:
        self.block = allocate(_BYTES)
        self._view = _numbers_of(self.block)

    def set(self, place: int, why: int) -> None:
        """Name a task; then the signal may be sent."""
        self._view[1] = why
        self._view[0] = place

    def clear(self) -> None:
        """Name none."""
        self._view[0] = 0


class Terminated(BaseException):
    """SIGTERM, in a worker that has something to tear down."""


class Guard:
    """The worker's side."""

    def __init__(self, block: Any) -> None:
        self._block = block
        self._view = _numbers_of(block)
        self.running = 0
        self.terminated = False
        signal.signal(SIGNAL, self._interrupt)

    def begin(self, place: int) -> None:
        """Run a task from now on. Raises if it shall end already."""
        self.running = place
        if self._view[0] == place:
            self._interrupt()

    def _interrupt(self, signum: int = 0, frame: FrameType | None = None) -> None:
        if not self.running or self._view[0] != self.running:
            return
        self.running = 0  # it is raised once
        raise out_of_time() if self._view[1] == TIMED_OUT else load("concurrent.futures", "CancelledError")()  # type: ignore[operator]

    def ends_by_sigterm(self) -> None:
        """Raise at SIGTERM, and remember it: a task may catch what is raised in it."""
        signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        if not self.terminated:
            self.terminated = True
            raise Terminated

    def done(self, place: int) -> None:
        """Come back when the pool has taken note of the end of a task that it had named."""
        while place and self._view[0] == place:
            time.sleep(_POLL)


def out_of_time() -> PolyprocTimeoutError:
    """Return what is raised in a task that has run too long, and by who waits for one that was killed."""
    return PolyprocTimeoutError("the call took longer than its timeout")
