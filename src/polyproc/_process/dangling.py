"""The process objects that are still referenced. CPython's test harness reads it."""

from __future__ import annotations

import gc

from polyproc._base.typing import Any, Iterator
from polyproc._process.process import BaseProcess, MainProcess


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
