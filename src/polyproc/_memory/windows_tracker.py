"""What `tracker` is on Windows: nothing. A named segment is gone with the last process that has it open."""

from __future__ import annotations

from polyproc._base.modules import public
from polyproc._base.typing import Any, Callable, ClassVar

PREFIX = "wnsm_"  # of names at random


@public("resource_tracker")
class ReentrantCallError(RuntimeError):
    """Is never raised here. For programs that expect it."""


@public("resource_tracker")
class ResourceTracker:
    """A tracker of somebody else's derives from it."""

    _another: ClassVar[Any]
    _lock: Any = None
    _fd: int | None = None


class NoTracker(ResourceTracker):
    """Takes what a tracker is told. One instance, `tracker`."""

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
