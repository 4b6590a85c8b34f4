"""SharedMemoryManager: makes named segments, and removes all of them when it shuts down."""

from __future__ import annotations

from polyproc._base.modules import public
from polyproc._base.typing import Any, Iterable
from polyproc._managers.manager import BaseManager, State
from polyproc._managers.server import Server
from polyproc._memory.segment import ShareableList, SharedMemory
from polyproc._memory.segment import SharedMemory as Segment


@public("managers")
class SharedMemoryServer(Server):
    """A server that knows the names of segments, and removes them when it ends."""

    public: tuple[str, ...] = (*Server.public, "track_segment")

    def __init__(self, *args: Any, **kwds: Any) -> None:
        super().__init__(*args, **kwds)
        self._segments: set[str] = set()

    def track_segment(self, name: str, segment_name: str) -> None:
        """Remove a segment at the end."""
        with self.mutex:
            self._segments.add(segment_name)

    def shutdown(self, name: str) -> None:
        """Remove all segments, and end the server."""
        with self.mutex:
            segments, self._segments = self._segments, set()
        for segment in segments:
            _remove(segment)
        super().shutdown(name)


def _remove(name: str) -> None:
    try:
        segment = SharedMemory(name)
    except FileNotFoundError:  # somebody has removed it
        return
    segment.close()
    segment.unlink()


@public("managers")
class SharedMemoryManager(BaseManager):
    """Makes `SharedMemory` and `ShareableList` objects; their segments are removed when it shuts down."""

    _Server = SharedMemoryServer

    def SharedMemory(self, size: int) -> SharedMemory:
        """Return a new segment of `size` bytes."""
        self._check_started()
        segment = SharedMemory(None, create=True, size=size)
        self._track(segment)
        return segment

    def ShareableList(self, sequence: Iterable[Any]) -> ShareableList:
        """Return a new list in a segment."""
        self._check_started()
        made = ShareableList(sequence)
        self._track(made.shm)
        return made

    def _check_started(self) -> None:
        if self._state != State.STARTED:
            raise ValueError("the manager's server is not started, or has been shut down")

    def _track(self, segment: Segment) -> None:
        try:
            self._ask("track_segment", segment.name)
        except BaseException:
            segment.unlink()
            raise
