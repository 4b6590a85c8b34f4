"""What a scheduler asks its engine to do, in this order."""

from __future__ import annotations

from polyproc._base.typing import TYPE_CHECKING, Any, NamedTuple, Sequence

if TYPE_CHECKING:
    from polyproc._scheduling.assignments import QueuedTask

# The kinds of outcome. A call is cancelled on its caller's behalf, withdrawn when its reader wants no more, timed out
# when its worker was killed for it, terminated with its pool.
VALUE, ERROR, CANCELLED, WITHDRAWN, TIMED_OUT, TERMINATED = range(6)

# Why a call is interrupted.
BY_TIMEOUT, BY_CANCELLING = 1, 2


class Send(NamedTuple):
    """Send a task to a worker, under a number (`place`) that is its own there. If it cannot be sent: `not_sent`."""

    worker: int
    place: int
    task: QueuedTask


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
    | TakeBack
    | SplitBatch
    | Interrupt
    | ClearInterrupt
    | Kill
    | StartWorkers
    | Dismiss
    | Settle
    | SettleAll
    | Pull
    | Stop
    | Ended
)
