"""This process: what it is, who started it, whom it has started, what it logs, and what it does at its exit."""

from __future__ import annotations

import atexit

from polyproc._base.modules import os

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class _Lifeline(Protocol):
        def hang_on_to_parent(self, wanted: bool, is_sentinel: bool) -> int | None: ...

    Sink = Callable[[int, str, tuple[object, ...]], None]


class ProcessState:
    """The processes around this one. One instance, `process_state`.

    Their classes stand above this module: a process is a BaseProcess, the parent a ParentProcess, a
    descriptor a LongLived.

    Attributes:
        current: the object of this process.
        forebear: what `current` was in the process that was forked: to free it would touch pages of both.
        parent_facts: (name, pid, sentinel or None) of the process that started this one, None in a main process.
        parent: its object, made when it is first asked for.
        lifeline: what its children hang on to and it hangs on to itself, once there is something of it to inherit.
        children: the started children that were not yet seen to have ended.
        unjoined: how many of them ended without anybody who joined them.
        start_method: the start method that was chosen, here or by a parent; None until then.
        importing_main: true while a child imports its parent's main module.
        receiving: true while a child imports and opens what it needs to know what it is to do.
        forked_in_import: whether this process was forked while another did so.
        hidden_starts: how many starts of its line were made in ways that do not show (`receiving.py`).
        drop_in: whether `multiprocessing` means this library here, and so in our children.
        ancestors: the pids of the processes that this one descends from, the oldest first.
        tracker: the mark of the family of trackers (_memory/tracker.py) and the descriptor that this process got of
            it; None for none.
        original_dir: the working directory at import, to find a relative `__main__.__file__`.
    """

    current: Any

    def __init__(self) -> None:
        self.parent_facts: tuple[str, int, int | None] | None = None
        self.parent: Any = None
        self.forebear: Any = None
        self.lifeline: _Lifeline | None = None
        self.children: set[Any] = set()
        self.unjoined = 0
        self.start_method: str | None = None
        self.importing_main = False
        self.receiving = False
        self.forked_in_import = False
        self.hidden_starts = 0
        self.drop_in = False
        self.ancestors: tuple[int, ...] = ()
        self.tracker: tuple[str, Any] | None = None
        self.original_dir: str | None
        try:
            self.original_dir = os.getcwd()
        except OSError:  # the directory was removed
            self.original_dir = None

    def forget_children(self) -> None:
        """Forget the children, at the interpreter's end: their handles are closed while there are modules."""
        self.children.clear()

    def leave_tracker(self) -> None:
        """Leave the family of trackers that this process has joined at its start."""
        if self.tracker is not None:
            self.tracker[1].close()
            self.tracker = None


process_state = ProcessState()
atexit.register(process_state.forget_children)  # the last of ours: after the exit sequence, which is registered below

# Log lines: they go nowhere, and `logging` is not loaded, until `_base/logger.py` plugs itself in as the sink.

NOTSET = 0
SUBDEBUG = 5
DEBUG = 10
INFO = 20
SUBWARNING = 25
WARNING = 30


class Log:
    """Holds the sink. One instance, `log`."""

    def __init__(self) -> None:
        self.sink: Sink | None = None

    def sub_debug(self, msg: str, *args: object) -> None:
        """Log at level 5."""
        if self.sink is not None:
            self.sink(SUBDEBUG, msg, args)

    def debug(self, msg: str, *args: object) -> None:
        """Log at level 10."""
        if self.sink is not None:
            self.sink(DEBUG, msg, args)

    def info(self, msg: str, *args: object) -> None:
        """Log at level 20."""
        if self.sink is not None:
            self.sink(INFO, msg, args)

    def sub_warning(self, msg: str, *args: object) -> None:
        """Log at level 25."""
        if self.sink is not None:
            self.sink(SUBWARNING, msg, args)

    def warn(self, msg: str, *args: object) -> None:
        """Log at level 30."""
        if self.sink is not None:
            self.sink(WARNING, msg, args)


log = Log()


# The order of a clean exit. It knows no package: they hand it callbacks, each with a rank; lower ranks run first.
#
#     0  finalizers whose exit priority is zero or more
#     1  end daemon children
#     2  join all children
#     3  the other finalizers
#
# It runs once in a process: at exit of a main process (by `atexit`), and at the end of a child's life.
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
