"""A child that was there before its job, which is sent to it with the descriptors that it gets."""

from __future__ import annotations

from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._pickling.spawning import SentFd
from polyproc._process.capture import capture, capture_extras, capture_tracker, pack_objects
from polyproc._start.child import Child
from polyproc._start.spawn import pack

if TYPE_CHECKING:
    from polyproc._process.process import BaseProcess


class WaitingChild(Child):
    """A child that waited. Subclasses say where it comes from."""

    def __init__(self, process_obj: BaseProcess[Any]) -> None:
        self._fds: list[int] = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Pass `fd` to the child; return its place among all that are passed."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def DupFd(self, fd: int) -> SentFd:
        """Return what to pickle for a descriptor that is passed, by its place."""
        return SentFd(fd)

    def _start(self, process_obj: BaseProcess[Any]) -> None:
        pickled, payload = pack(process_obj, self)
        job = self._describe(process_obj.name)
        job.update(pickled=pickled, payload=payload)
        capture_tracker(job, self.duplicate_for_child, is_sent=True)
        self._send(job, process_obj.daemon)
        self._fds.clear()

    def _describe(self, name: str) -> dict[str, Any]:
        """Return what the child is told about this process."""
        job = pack_objects(capture_extras(capture(name)))
        job["start_method"] = self.method
        return job

    def _send(self, job: dict[str, Any], daemon: bool) -> None:
        raise NotImplementedError
