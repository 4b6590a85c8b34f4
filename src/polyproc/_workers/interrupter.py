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

The cell also says how many chunks of a batch its worker has begun, for the pool to take back the others.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING, Any

from polyproc._errors import TimeoutError as PolyprocTimeoutError
from polyproc._lazy import load
from polyproc._memory.block import allocate
from polyproc._native import native
from polyproc._platform.handles import pause

if TYPE_CHECKING or native:
    import polyproc._core as core

# A real-time signal: programs use SIGUSR1 and SIGALRM for themselves.
SIGNAL = signal.SIGRTMAX - 3 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2
TIMED_OUT, CANCELLED = 1, 2
_POLL = 0.0005
_PLACE, _WHY = 2, 3  # numbers of two bytes; the first four bytes are the turn (csrc/core/pp_turn.h)


def _numbers_of(block: Any) -> memoryview:
    return memoryview(block.buffer).cast("B").cast("H")


class CancelWord:
    """The pool's side. It is pickled to the worker."""

    def __init__(self) -> None:
        self.block = allocate(8)
        self._view = _numbers_of(self.block)

    def set(self, place: int, why: int) -> None:
        """Name a task; then the signal may be sent."""
        self._view[_WHY] = why
        self._view[_PLACE] = place

    def clear(self) -> None:
        """Name none."""
        self._view[_PLACE] = 0

    def close_batch(self, place: int) -> int | None:
        """Have the worker begin no more of a batch; return how many chunks it has begun, None if it is elsewhere."""
        if not native:
            return None
        begun = core.turn_close(self.block, place)
        return None if begun < 0 else begun


class Terminated(BaseException):
    """SIGTERM, in a worker that has something to tear down."""


class Interrupter:
    """The worker's side."""

    def __init__(self, block: Any) -> None:
        self._block = block
        self._view = _numbers_of(block)
        self.running = 0
        self.is_open = (
            False  # whether the user's code runs, or a wait: there it may be raised that this worker shall end
        )
        self.terminated = False
        signal.signal(SIGNAL, self._interrupt)

    def begin(self, place: int) -> None:
        """Run a task from now on. Raises if it shall end already."""
        self.running = place
        self.is_open = True
        if self._view[_PLACE] == place:
            self._interrupt()

    def begin_batch(self, place: int) -> None:
        """Come to a batch."""
        if native:
            core.turn_begin(self._block, place)

    def take_next(self) -> bool:
        """Say whether the next chunk of the batch is this worker's: the pool may have taken back what is left."""
        return not native or core.turn_take(self._block)

    def _interrupt(self, signum: int = 0, frame: FrameType | None = None) -> None:
        if not self.running or self._view[_PLACE] != self.running:
            return
        self.running = 0  # it is raised once
        raise out_of_time() if self._view[_WHY] == TIMED_OUT else load("concurrent.futures", "CancelledError")()  # type: ignore[operator]

    def ends_by_sigterm(self) -> None:
        """Raise at SIGTERM where that is `open`, and remember it: a task may catch what is raised in it."""
        signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        self.terminated = True
        if self.is_open:
            self.is_open = False  # it is raised once
            raise Terminated

    def done(self, place: int) -> None:
        """Come back when the pool has taken note of the end of a task that it had named."""
        while place and self._view[_PLACE] == place and not self.terminated:
            pause(_POLL)


def out_of_time() -> PolyprocTimeoutError:
    """Return what is raised in a task that has run too long, and by who waits for one that was killed."""
    return PolyprocTimeoutError("the call took longer than its timeout")
