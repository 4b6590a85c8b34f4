"""What calls ask for, and what a scheduler asks its engine to do, in this order."""

from __future__ import annotations

from polyproc._base.typing import TYPE_CHECKING, Any, Callable, NamedTuple, Sequence

if TYPE_CHECKING:
    from polyproc._scheduling.assignments import QueuedTask

# The kinds of outcome. A call is cancelled on its caller's behalf, withdrawn when its reader wants no more, timed out
# when its worker was killed for it, terminated with its pool.
VALUE, ERROR, CANCELLED, WITHDRAWN, TIMED_OUT, TERMINATED = range(6)

# Why a call is interrupted.
BY_TIMEOUT, BY_CANCELLING = 1, 2


class ResolvedOptions(NamedTuple):
    """Validated call options, with a value for each.

    Attributes:
        timeout: seconds that the call may run.
        grace: seconds between an interruption and the kill of its worker.
        retries: how often a call is run again after an error that is one of `retry_on`.
        retry_on: the errors.
        priority: higher goes first.
        progress: True for a bar, or a function.
        retries_timeouts: whether `retry_on` includes the error of a call that took too long.
    """

    timeout: float | None = None
    grace: float = 1.0
    retries: int = 0
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = ()
    priority: int = 0
    progress: bool | Callable[[int, int | None], object] = False
    retries_timeouts: bool = False

    @property
    def are_for_one(self) -> bool:
        """Whether each call has to travel alone."""
        return self.timeout is not None or self.retries > 0


class Dropped(Exception):
    """The outcome of a call that nobody wanted any more: cancelled, or beyond the end that its reader has set."""

    def __init__(self, is_end: bool) -> None:
        super().__init__()
        self.is_end = is_end


class Send(NamedTuple):
    """Send a task to a worker, under a number (`place`) that is its own there. If it cannot be sent: `not_sent`."""

    worker: int
    place: int
    task: QueuedTask


class SendAll(NamedTuple):
    """Send tasks to a worker in this order, each with its place, as `Send` does one."""

    worker: int
    tasks: Sequence[tuple[int, QueuedTask]]


class TakeBack(NamedTuple):
    """Take up to `most` tasks back that a worker has not begun, the oldest first; then `taken_back`, at once.

    The worker was sent none yet that come after the place `last`: that was decided later.
    """

    worker: int
    most: int
    last: int


class SplitBatch(NamedTuple):
    """Stop a worker from beginning more chunks of the batch that it runs; then `batch_split`, at once."""

    worker: int
    place: int


class Interrupt(NamedTuple):
    """Raise in the call that a worker runs, if it is this one."""

    worker: int
    place: int
    why: int


class ClearInterrupt(NamedTuple):
    """Release a worker whose interrupted call is over."""

    worker: int


class Kill(NamedTuple):
    """End a worker, also one that is being started: by SIGTERM if `gently`, else by SIGKILL with what it started."""

    worker: int
    gently: bool


class StartWorkers(NamedTuple):
    """Start workers; each is answered by `worker_ready`, `worker_failed_to_start` or `worker_ended`."""

    workers: tuple[int, ...]


class Dismiss(NamedTuple):
    """Tell a worker to end when it has done what it has."""

    worker: int


class Settle(NamedTuple):
    """Hand the outcome of a chunk to its job. `attempts` is not 0 if the call was to be retried."""

    job: Any
    chunk: int
    kind: int
    value: Any = None
    attempts: tuple[int, int] | None = None


class SettleAll(NamedTuple):
    """Hand the outcomes of chunks that follow each other to their job: each a value or an error."""

    job: Any
    first: int
    outcomes: Sequence[tuple[bool, Any]]


class SettleEach(NamedTuple):
    """Hand values to their jobs: each with its job, and its chunk there."""

    values: Sequence[tuple[Any, int, Any]]


class Pull(NamedTuple):
    """Allow a source to send more: `most` chunks in all, any number for None."""

    source: Any
    most: int | None


class Stop(NamedTuple):
    """Stop a source after the `sent` chunks that it has sent; a kind of error tells its reader why.

    Each source gets one, also one that has ended by itself: nothing else says how many chunks there are.
    """

    source: Any
    sent: int
    kind: int
    value: Any = None


class Ended(NamedTuple):
    """Nothing is left to do, now and later."""


Action = (
    Send
    | SendAll
    | TakeBack
    | SplitBatch
    | Interrupt
    | ClearInterrupt
    | Kill
    | StartWorkers
    | Dismiss
    | Settle
    | SettleAll
    | SettleEach
    | Pull
    | Stop
    | Ended
)
