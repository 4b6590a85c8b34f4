"""How things stand in a pool."""

from __future__ import annotations

from typing import NamedTuple


class PoolStats(NamedTuple):
    """A pool at one moment.

    Attributes:
        workers: those that are there and stay.
        idle: workers without a task.
        busy: workers with one.
        queued: tasks that no worker runs yet.
        done: tasks that were answered, well or not, each item's or chunk's counted.
        failed: those of them, and of the lost, whose caller got an error.
        retried: attempts beyond a task's first.
        started: workers started since the pool was made.
        lost: workers that died in a task.
        seconds: what the tasks took, all together.
        slowest: the name and the seconds of the task that took longest.
    """

    workers: int
    idle: int
    busy: int
    queued: int
    done: int
    failed: int
    retried: int
    started: int
    lost: int
    seconds: float
    slowest: tuple[str, float]
