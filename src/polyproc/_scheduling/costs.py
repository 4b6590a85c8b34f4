"""What calls cost, and what was done."""

from __future__ import annotations

LONG_CALL = 0.002  # seconds of work that a worker should have at hand; what an unknown call is taken to last
WAKING = 0.0001  # seconds of work that are done sooner by a worker that is awake than by one that has to be woken
_WEIGHT = 0.1  # of a new measurement, at least
_MAX_NAMES = 1000


class Costs:
    """Seconds that a chunk takes, by its function's name, and from how many measurements that is known."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[float, int]] = {}

    def of(self, name: str) -> float:
        """Return the seconds; for an unknown name, those of a long call."""
        known = self.known.get(name)
        return LONG_CALL if known is None else known[0]

    def add(self, name: str, seconds: float) -> None:
        """Add a measurement."""
        mean, count = self.known.get(name, (0.0, 0))
        if not count and len(self.known) >= _MAX_NAMES:
            self.known.clear()
        self.known[name] = mean + max(1 / (count + 1), _WEIGHT) * (seconds - mean), count + 1


class Totals:
    """Sums over the life of a pool."""

    def __init__(self) -> None:
        self.done = self.failed = self.retried = self.lost = self.started = 0
        self.seconds = 0.0
        self.slowest = "", 0.0

    def add(self, name: str, seconds: float, chunks: int) -> None:
        """Count a task that was answered."""
        self.done += chunks
        self.seconds += seconds
        if seconds > self.slowest[1]:
            self.slowest = name, seconds
