"""Raise an exception in the task that a worker runs, and in no other: the pool's side and the worker's.

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

What is raised by a signal's handler comes up wherever the interpreter is. Two places cannot bear it. An import that is
torn leaves half a package behind, and every later call of the worker that imports it fails: there the signal is put off
until the import has ended (or the grace, and the worker with it). And what calls back into Python without a way to
report an error (`__del__`, a weak reference's callback) prints and drops it: the exception would be lost, so that one
is raised again.
"""

from __future__ import annotations

import _signal as signal  # `signal` makes enumerations of it
import os
import sys
from types import FrameType

from polyproc._base.errors import TimeoutError as PolyprocTimeoutError
from polyproc._base.modules import load
from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING, Any, NoReturn
from polyproc._platform.handles import own_module, pause
from polyproc._platform.posix import IS_WINDOWS

if TYPE_CHECKING:
    from collections.abc import Callable
if TYPE_CHECKING or native:
    import polyproc._core as core
    from polyproc._pickling.chunk import CoreBlock
if TYPE_CHECKING or not native:
    from polyproc._memory.block import FileBlock

# A real-time signal: programs use SIGUSR1 and SIGALRM for themselves.
SIGNAL: int
if IS_WINDOWS:
    SIGNAL = load("signal", "SIGBREAK")  # type: ignore[assignment]
else:
    SIGNAL = signal.SIGRTMAX - 3 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2
TIMED_OUT, CANCELLED = 1, 2
_POLL = 0.0005
_WORKERS_LOOP = "polyproc._workers.worker"  # below its frames lies what started the process, perhaps in an import
_PLACE, _WHY = 2, 3  # numbers of two bytes; the first four bytes are the turn (csrc/core/pp_batch_cursor.h)


def _numbers_of(block: Any) -> memoryview:
    return memoryview(block.buffer).cast("B").cast("H")


class CancelWord:
    """The pool's side. It is pickled to the worker."""

    def __init__(self) -> None:
        self.block = CoreBlock("B", 8, None) if native else FileBlock(8)
        self._view = _numbers_of(self.block)

    def set(self, place: int, why: int) -> None:
        """Name a task; then the signal may be sent."""
        self._view[_WHY] = why
        self._view[_PLACE] = place

    def clear(self) -> None:
        """Name none."""
        self._view[_PLACE] = 0

    def close_batch(self, place: int) -> int | None:
        """End the batch after the chunks that are begun; return their number, None if the worker is elsewhere."""
        if not native:
            return None
        begun = core.batch_close(self.block, place)
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
        self._raised: tuple[BaseException, int] | None = None  # and the task in which it was
        self._report_dropped: Callable[[Any], object] | None = None  # the hook that was there before this one
        signal.signal(SIGNAL, self._interrupt)

    def begin(self, place: int) -> None:
        """Run a task from now on. Raises if it shall end already."""
        self.running = place
        self.is_open = True
        if self._view[_PLACE] == place:
            self._interrupt()

    def begin_batch(self, place: int) -> None:
        """Note that the worker has come to a batch."""
        if native:
            core.batch_begin(self._block, place)

    def take_next(self) -> bool:
        """Return whether the next chunk of the batch is this worker's: the pool may have taken back what is left."""
        return not native or core.batch_claim(self._block)

    def _interrupt(self, signum: int = 0, frame: FrameType | None = None) -> None:
        if not self.running or self._view[_PLACE] != self.running:
            return
        if is_importing(frame) and signal_again(SIGNAL):
            return
        place, self.running = self.running, 0  # it is raised once
        self._raise(out_of_time() if self._view[_WHY] == TIMED_OUT else _cancelled(), place)

    def ends_by_sigterm(self) -> None:
        """Raise at SIGTERM where that is `open`, and remember it: a task may catch what is raised in it."""
        signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        self.terminated = True
        if self.is_open:
            self.is_open = False  # it is raised once
            self._raise(Terminated(), self.running)

    def _raise(self, error: BaseException, place: int) -> None:
        self._raised = (error, place)
        if self._report_dropped is None:
            self._report_dropped, sys.unraisablehook = sys.unraisablehook, self._notice_dropped
        raise error

    def _notice_dropped(self, dropped: Any) -> None:
        """Raise it again a moment later if it is this one's. What drops it runs in the task: the task has not ended."""
        assert self._report_dropped is not None
        if self._raised is None or dropped.exc_value is not self._raised[0]:
            self._report_dropped(dropped)
        elif isinstance(dropped.exc_value, Terminated):
            self.is_open = True
            signal_again(signal.SIGTERM)
        else:
            self.running = self._raised[1]
            signal_again(SIGNAL)

    def done(self, place: int) -> None:
        """Wait until the pool has taken note of the end of a task that it had named."""
        while place and self._view[_PLACE] == place and not self.terminated:
            pause(_POLL)


def leave_copy(message: object = None) -> NoReturn:
    """End a process that the user's code has forked, where it would come back to do what its parent does."""
    try:
        sys.stdout.flush()
    finally:
        os._exit(0)


def out_of_time() -> PolyprocTimeoutError:
    """Return what is raised in a task that has run too long, and where one that was killed is waited for."""
    return PolyprocTimeoutError("the call took longer than its timeout")


def _cancelled() -> BaseException:
    return load("concurrent.futures", "CancelledError")()  # type: ignore[operator,no-any-return]


def is_importing(frame: FrameType | None) -> bool:
    """Return whether the worker's task is importing a module, seen from the frame that a signal met."""
    while frame is not None and frame.f_globals.get("__name__") != _WORKERS_LOOP:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def signal_again(number: int) -> bool:
    """Send this process a signal a moment from now; return False if no thread can be started for that."""

    def wait_and_send() -> None:
        pause(_POLL)
        signal.raise_signal(number) if IS_WINDOWS else os.kill(os.getpid(), number)

    own_thread: Any = own_module("_thread")  # a greenlet would wait for its turn
    try:
        own_thread.start_new_thread(wait_and_send, ())
    except RuntimeError:
        return False
    return True
