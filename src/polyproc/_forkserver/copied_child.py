"""A child that is a copy of its parent as that was when it made a fork server: a pool's worker that comes later."""

from __future__ import annotations

import os

from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._process.state import process_state
from polyproc._start.waiting_child import WaitingChild

if TYPE_CHECKING:
    from polyproc._forkserver.pool_fork_server import PoolForkServer
    from polyproc._process.process import BaseProcess


class CopiedChild(WaitingChild):
    """A child made by a fork server of its pool."""

    method = "fork"
    finds_kept = True

    def __init__(self, process_obj: BaseProcess[Any], fork_server: PoolForkServer) -> None:
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
