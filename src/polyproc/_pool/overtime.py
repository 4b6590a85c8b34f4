"""Which worker has until when for which task: pure state, no threads, no clock.

A task has two limits. At the first it is interrupted, at the second its worker is killed:

    begin --timeout--> due, soft --grace--> due, hard
    (a task that is cancelled begins at the second)
"""

from __future__ import annotations


class Limit:
    """One worker's.

    Attributes:
        place: the task's number at its worker.
        at: when it is over, on the monotonic clock.
        hard: whether it was interrupted before.
        told: whether `due` has named it.
    """

    __slots__ = ("at", "hard", "place", "told")

    def __init__(self, place: int, at: float, hard: bool) -> None:
        self.place = place
        self.at = at
        self.hard = hard
        self.told = False


class Overtime:
    """The limits that run. Every caller has the pool's lock."""

    def __init__(self) -> None:
        self.limits: dict[int, Limit] = {}

    def begin(self, worker: int, place: int, at: float, hard: bool = False) -> None:
        """Have a worker's task be over at a time; it replaces what was set for the worker."""
        self.limits[worker] = Limit(place, at, hard)

    def end(self, worker: int) -> None:
        """Forget a worker's."""
        self.limits.pop(worker, None)

    def next_at(self) -> float:
        """Return when the next one is over; infinity when none is."""
        return min((limit.at for limit in self.limits.values() if not limit.told), default=float("inf"))

    def due(self, now: float) -> list[tuple[int, Limit]]:
        """Return the workers whose time is over, each limit once."""
        found = [(worker, limit) for worker, limit in self.limits.items() if limit.at <= now and not limit.told]
        for _, limit in found:
            limit.told = True
        return found
