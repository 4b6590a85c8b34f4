"""What `tracker` is on Windows: nothing. A named segment is gone with the last process that has it open."""

from __future__ import annotations

from polyproc._base.typing import Any, Callable
from polyproc._memory.tracker import ResourceTracker

PREFIX = "wnsm_"  # of names at random


class NoTracker(ResourceTracker):
    """Takes what a tracker is told. One instance, `tracker`."""

    def __init__(self) -> None:
        self._lock, self._fd = None, None

    def is_replaced(self) -> bool:
        """Return whether a program has put functions of its own in place of these."""
        return False

    def member(self) -> None:
        """Return what a child is told of the tracker."""

    def ensure_running(self) -> None:
        """Do nothing: there is none."""

    def register(self, name: str, rtype: str, *place: object) -> None:
        """Do nothing: the system looks after segments."""

    def unregister(self, name: str, rtype: str, *place: object) -> None:
        """Do nothing."""

    def getfd(self) -> int | None:
        """Return None: there is no descriptor of it."""
        return None


tracker = NoTracker()
ResourceTracker._another = staticmethod(lambda: tracker)
_CLEANUP_FUNCS: dict[str, Callable[..., object]] = {"noop": lambda: None}
ensure_running = tracker.ensure_running
register = tracker.register
unregister = tracker.unregister
getfd: Any = tracker.getfd
