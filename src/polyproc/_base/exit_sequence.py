"""The order of a clean exit. It knows no package: they hand it callbacks, each with a rank; lower ranks run first.

    0  finalizers whose exit priority is zero or more
    1  end daemon children
    2  join all children
    3  the other finalizers

It runs once in a process: at exit of a main process (by `atexit`), and at the end of a child's bootstrap.
"""

from __future__ import annotations

import atexit

from polyproc._base.log import log

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from collections.abc import Callable

FINALIZERS = 0
DAEMONS = 1
CHILDREN = 2
LATE_FINALIZERS = 3


class ExitSequence:
    """The callbacks of this process's exit. One instance, `exit_sequence`."""

    def __init__(self) -> None:
        self.steps: dict[int, Callable[[], None]] = {}
        self.started = False
        self.exiting = False

    def add(self, rank: int, step: Callable[[], None]) -> None:
        """Run `step` at exit."""
        self.steps[rank] = step

    def is_exiting(self) -> bool:
        """Return whether this process is shutting down."""
        return self.exiting

    def run(self) -> None:
        """Run every step, once; a second call does nothing."""
        if self.started:
            return
        self.started = True
        log.info("process shutting down")
        for rank in sorted(self.steps):
            self.exiting = True
            self.steps[rank]()

    def after_fork_in_child(self) -> None:
        """Forget, in a forked child, that the parent was exiting."""
        self.started = False
        self.exiting = False


exit_sequence = ExitSequence()
atexit.register(exit_sequence.run)
