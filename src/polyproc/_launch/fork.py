"""Launch by fork: the child is a copy of this process, and runs as little Python as possible before the target.

What the child needs is made ready in the parent: page faults after a fork are what it costs.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, TextIO

from polyproc._launch.popen import Popen as ChildHandle
from polyproc._process.bootstrap import after_fork, leave
from polyproc._process.box import Box
from polyproc._process.lifeline import lifeline
from polyproc._process.output import KeptStream

if TYPE_CHECKING:
    from polyproc._process.process import BaseProcess


# Made in the parent, once: in each child it would cost a tenth of all its page faults.
kept_error = KeptStream("stderr")


class _NullInput:
    """/dev/null as standard input, made once in the parent for all its forked children. One instance."""

    def __init__(self) -> None:
        self._stream: TextIO | None = None

    def prepare(self) -> None:
        """Open it, in the parent."""
        if self._stream is None:
            self._stream = open(os.devnull, encoding="utf-8")  # noqa: SIM115  (it stays open for all children)

    def install(self) -> None:
        """Make it sys.stdin and, where 0 is standard input, descriptor 0, in the child."""
        if self._stream is None:
            return
        stdin = sys.stdin
        try:
            is_standard = stdin is not None and stdin.fileno() == 0
        except (OSError, ValueError, AttributeError):
            is_standard = False
        if is_standard:
            os.dup2(self._stream.fileno(), 0)
        sys.stdin = self._stream


null_input = _NullInput()


class Popen(ChildHandle):
    """A child made by fork."""

    method = "fork"

    def _launch(self, process_obj: BaseProcess[Any]) -> None:
        threaded = _thread._count() > 0
        if threaded:
            _warn_of_threads()
        if process_obj.daemon:
            lifeline.open()
        null_input.prepare()
        kept_error.prepare()
        pid = _fork_quietly() if threaded else os.fork()
        if pid == 0:
            _live(process_obj, self._box)
        self._started(pid)


def _fork_quietly() -> int:
    """Fork without the interpreter's warning of threads (3.12 and later): ours has said which they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _live(process_obj: BaseProcess[Any], box: Box) -> None:
    """The child's life; never returns."""
    try:
        lifeline.hang_on_to_parent(process_obj.daemon)
        after_fork()
        null_input.install()
        kept_error.install()
    finally:
        leave(process_obj, None, box)


class _ThreadWarning:
    """Whether the warning was given: once for each set of threads. One instance."""

    def __init__(self) -> None:
        self.told: frozenset[str] = frozenset()


_thread_warning = _ThreadWarning()


def _warn_of_threads() -> None:
    if threading.current_thread().name.startswith("polyproc"):
        return  # a pool replaces a worker: not its user's doing
    names = frozenset(t.name for t in threading.enumerate() if t is not threading.current_thread())
    fresh = {name for name in names if not name.startswith("polyproc")} - _thread_warning.told
    if fresh:
        _thread_warning.told |= fresh
        warnings.warn(
            f"fork in a process with other threads ({', '.join(sorted(fresh))}): a lock that one of them holds stays "
            "locked in the child; the start methods spawn and forkserver do not have this problem",
            DeprecationWarning,
            stacklevel=6,
        )
