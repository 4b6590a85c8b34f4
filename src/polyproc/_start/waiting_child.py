"""Children that were there before their job, which is sent to them with the descriptors that they get."""

from __future__ import annotations

import os

from polyproc._base.process_state import process_state
from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._pickling.sending import IsSentFds
from polyproc._process.preparation import capture, capture_extras, capture_tracker, pack_objects
from polyproc._start.child import Child
from polyproc._start.spawn import pack

if TYPE_CHECKING:
    from typing import Protocol

    from polyproc._forkserver.fork_server import ForkServer
    from polyproc._process.process import BaseProcess

    class _StartsChildren(Protocol):
        def start(self, job: dict[str, Any], fds: list[int]) -> tuple[int, int, int]: ...


class WaitingChild(IsSentFds, Child):
    """A child that waited. Subclasses say where it comes from."""

    def __init__(self, process_obj: BaseProcess[Any]) -> None:
        self._fds: list[int] = []
        super().__init__(process_obj)

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


class ForkServerChild(WaitingChild):
    """A child made by a fork server."""

    method = "forkserver"

    def _send(self, job: dict[str, Any], daemon: bool) -> None:
        job["hang_on"] = daemon
        self._make_room()
        forked = self._server().start(job, [self._box.fd, *self._fds])
        self.pid: int = forked.pid
        self.sentinel: int = forked.pidfd
        self._status_fd = forked.status_fd

    @staticmethod
    def _server() -> ForkServer:
        from polyproc._forkserver.fork_server import forkserver

        return forkserver


class FreshChild(ForkServerChild):
    """A child that is a copy of an interpreter which had run nothing yet: a pool's worker by spawn."""

    method = "spawn"

    @staticmethod
    def _server() -> ForkServer:
        from polyproc._forkserver.fork_server import fresh_fork_server

        return fresh_fork_server


class CopiedChild(WaitingChild):
    """A copy of its parent as that was when it made a fork server for its pool: a worker that comes later."""

    method = "fork"
    finds_kept = True

    def __init__(self, process_obj: BaseProcess[Any], fork_server: _StartsChildren) -> None:
        self._fork_server = fork_server
        super().__init__(process_obj)

    def _describe(self, name: str) -> dict[str, Any]:
        job: dict[str, Any] = {"name": name, "ancestors": process_state.ancestors, "hang_on": False}
        try:
            job["dir"] = os.getcwd()
        except OSError:  # the directory was removed: the child stays where it is
            pass
        return job

    def _send(self, job: dict[str, Any], daemon: bool) -> None:
        self._make_room()
        self.pid, self.sentinel, self._status_fd = self._fork_server.start(job, [self._box.fd, *self._fds])
