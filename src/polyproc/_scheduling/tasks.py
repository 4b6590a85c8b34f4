"""A call on its way to a worker, and what its caller asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

# A task is new until it is submitted; then no worker has it, or a worker has it, until its outcome is known. A worker
# may still run one that is done.
NEW, WAITING, ASSIGNED, DONE = "new", "waiting", "assigned", "done"


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


class Batch(NamedTuple):
    """Chunks of one map that travel together, since each takes less than sending it: start to stop of `chunks`."""

    function: bytes
    kind: int
    start: int
    stop: int
    chunks: bytes

    def parts(self, most: int) -> list[Batch]:
        """Return it in up to `most` parts."""
        count = self.stop - self.start
        most = min(count, most)
        bounds = [self.start + count * part // most for part in range(most + 1)]
        return [self._replace(start=first, stop=last) for first, last in itertools.pairwise(bounds)]


class QueuedTask:
    """A call, a chunk of a map, or a batch of chunks.

    Attributes:
        job: what its outcome goes to; the scheduler only hands it on.
        index: its number in the job; of a batch, that of its first chunk.
        payload: what is sent to a worker; None for a batch, which is packed when it is sent.
        name: the function's name, by which its cost is guessed.
        attempt: 1, and one more for each retry.
        state: NEW, WAITING, ASSIGNED or DONE.
        worker: the id of the worker that has it.
        load: how many seconds it takes, as it seemed when it was assigned.
        drop: the kind of outcome that it gets if its worker gives it back; 0 for none.
    """

    __slots__ = ("attempt", "batch", "drop", "index", "job", "load", "name", "options", "payload", "state", "worker")

    def __init__(
        self, job: Any, index: int, payload: Any, name: str, options: ResolvedOptions, batch: Batch | None = None
    ) -> None:
        self.job = job
        self.index = index
        self.payload = payload
        self.name = name
        self.options = options
        self.batch = batch
        self.attempt = 1
        self.state = NEW
        self.worker = 0
        self.load = 0.0
        self.drop = 0

    @property
    def count(self) -> int:
        """How many chunks of its job it is."""
        return 1 if self.batch is None else self.batch.stop - self.batch.start
