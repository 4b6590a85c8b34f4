"""Process objects that few programs ask for: the process that started this one; and all that are still referenced."""

from __future__ import annotations

import gc
import os

from polyproc._base.modules import public
from polyproc._base.process_state import process_state
from polyproc._base.typing import Any, Iterator
from polyproc._platform.handles import ended_sentinel, open_pidfd, ready
from polyproc._platform.posix import close_quietly
from polyproc._process.process import BaseProcess, MainProcess


@public("process")
class ParentProcess(BaseProcess[object]):
    """The process that started this one: it can be watched and waited for, not signalled."""

    def __init__(self, name: str, pid: int, sentinel: int | None) -> None:
        self._identity = ()
        self._name = name
        self._pid = pid
        self._parent_pid = None
        self._popen = None
        self._closed = False
        self._config = {}
        self._watched = sentinel

    def is_alive(self) -> bool:
        """Return whether the parent runs."""
        return not self._ready(0)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the parent has ended, at most `timeout` seconds."""
        self._ready(timeout)

    def _ready(self, timeout: float | None) -> bool:
        return bool(ready([self.sentinel], timeout))

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the parent has ended."""
        if self._watched is None:
            # A pidfd of our parent, as long as it is our parent: else its number may be another's by now.
            fd = open_pidfd(self._pid)
            if os.getppid() != self._pid:
                close_quietly(fd)
                fd = ended_sentinel()
            elif fd < 0:  # a program forked by itself, and where there are no pidfds it has no lifeline
                raise NotImplementedError("this system does not tell of the end of this process's parent")
            self._watched = fd
        return self._watched

    @property
    def ident(self) -> int | None:
        """The process id."""
        return self._pid

    pid = ident


def parent_process() -> ParentProcess | None:
    """Return the object of the parent, None in a main process."""
    if process_state.parent is None and process_state.parent_facts is not None:
        process_state.parent = ParentProcess(*process_state.parent_facts)
    parent: ParentProcess | None = process_state.parent
    return parent


# The process objects that are still referenced: CPython's test harness reads it.


class Dangling:
    """The process objects that this process made and somebody still refers to: looked for when asked, never noted.

    Noting each in a WeakSet, as the standard library does, was a tenth of what a forking parent spends on a start.
    """

    def copy(self) -> set[BaseProcess[Any]]:
        """Return those that live."""
        return set(self)

    def __iter__(self) -> Iterator[BaseProcess[Any]]:
        known = (o for o in gc.get_objects() if isinstance(o, BaseProcess) and not isinstance(o, MainProcess))
        return iter([process for process in known if process._identity])


dangling = Dangling()
