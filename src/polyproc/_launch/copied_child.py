"""A child that is a copy of its parent as that was when it made a template: a pool's worker that comes later."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from polyproc._launch.waiting_child import WaitingChild
from polyproc._process.family import family

if TYPE_CHECKING:
    from polyproc._launch.fork_template import ForkTemplate
    from polyproc._process.process import BaseProcess


class Popen(WaitingChild):
    """A child made by a template of its pool."""

    method = "fork"
    finds_kept = True

    def __init__(self, process_obj: BaseProcess[Any], template: ForkTemplate) -> None:
        self._template = template
        super().__init__(process_obj)

    def _describe(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = {"name": name, "ancestors": family.ancestors, "hang_on": False}
        try:
            told["dir"] = os.getcwd()
        except OSError:  # the directory was removed: the child stays where it is
            pass
        return told

    def _send(self, told: dict[str, Any], daemon: bool) -> None:
        self._make_room()
        self.pid, self.sentinel, self._status_fd = self._template.start(told, [self._box.fd, *self._fds])
