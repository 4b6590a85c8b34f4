"""Launch by fork: the child is a copy of this process, and runs as little Python as possible before the target.

What the child needs is made ready in the parent: page faults after a fork are what it costs.
"""

from __future__ import annotations

import _signal
import _thread
import atexit
import gc
import os
import sys

from polyproc._base.process_state import process_state
from polyproc._pickling.main_definitions import main_definitions
from polyproc._platform.handles import held_back, pidfd
from polyproc._platform.posix import OwnFile, fork, forks
from polyproc._process.black_box import RecordedStream
from polyproc._process.child_life import after_fork, end_by_interrupt, has_more_to_reset, lifeline, live
from polyproc._start.child import Child

TYPE_CHECKING = False  # see child.py: what this process has loaded, each forked child pays for
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from polyproc._process.black_box import Box
    from polyproc._process.process import BaseProcess


_SIGINT = (_signal.SIGINT,)
_MAY_WARN = sys.version_info >= (3, 15)  # the interpreter, of threads that Python does not know of, too

# Made in the parent, once: in each child it would cost a tenth of all its page faults.
recorded_stderr = RecordedStream("stderr")


class _NullFile(OwnFile):
    """/dev/null, and a stream of it."""

    __slots__ = ("stream",)

    def __init__(self) -> None:
        super().__init__(os.open(os.devnull, os.O_RDONLY))
        self.stream = open(self.fd, encoding="utf-8", closefd=False)  # noqa: SIM115  (for all children)


class _NullInput:
    """/dev/null as standard input, made once in the parent for all its forked children. One instance.

    Attributes:
        file: it, after `prepare`; one object, so that a fork in another thread finds all of it or nothing.
        is_at_0: whether descriptor 0 is standard input, which a child then replaces, too.
    """

    def __init__(self) -> None:
        self.file: _NullFile | None = None
        self.is_at_0 = False
        self._seen: object = self

    def prepare(self) -> _NullFile:
        """Open it, in the parent, and return it; and look at standard input."""
        file = self.file
        if file is None or not file.is_there():
            file = self.file = _NullFile()
        if sys.stdin is not self._seen:
            self._seen = sys.stdin
            try:
                self.is_at_0 = sys.stdin is not None and sys.stdin.fileno() == 0
            except (OSError, ValueError, AttributeError):
                self.is_at_0 = False
        return file


null_input = _NullInput()


def _special_fork(made: list[int]) -> Callable[[], int]:
    """Return how to fork where others must know, or not hear, of it; the pid is put into `made`, too."""
    if not _thread._count():
        return fork.__get__(made)  # type: ignore[no-any-return]  # as a method: the warning counts frames
    from polyproc._start.fork_with_threads import warn_and_fork

    return warn_and_fork.__get__(made)  # type: ignore[no-any-return]


def replace_streams() -> None:
    """Give a forked child standard streams of its own."""
    null = null_input.file
    if null is not None:
        if null_input.is_at_0:
            os.dup2(null.fd, 0)
        sys.stdin = null.stream
    if recorded_stderr.replacement is not None:
        sys.stderr = sys.__stderr__ = recorded_stderr.replacement  # type: ignore[misc]


class ForkChild(Child):
    """A child made by fork."""

    method = "fork"
    _masks = True

    def _start(self, process_obj: BaseProcess[Any]) -> None:
        main_definitions.note_start()
        null = null_input.prepare()
        recorded_stderr.prepare()
        parent_sentinel = None
        ends = None if pidfd.has_worked else self._begin_end()
        if process_obj._config.get("daemon") or ends is not None:
            lifeline.open()
        opened = process_state.lifeline
        has_more_to_do = opened is not None or has_more_to_reset() or held_back
        # A thread that Python does not know of is not counted; it holds no lock of Python's.
        is_special = _thread._count() or forks.let_go or _MAY_WARN
        # Until both know what they are, a Ctrl-C waits: it would be lost, or go on as a second copy of the caller.
        mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _SIGINT)
        made: list[int] = []
        pid = -1
        try:
            # The step that forks sets `pid`, in this frame: a Ctrl-C comes before or after it.
            for pid in iter(_special_fork(made) if is_special else os.fork, -1):  # noqa: B007  (it is used below)
                break
            if pid:
                self._started(pid)
        finally:
            pid = made[0] if made else pid
            if pid:
                self.pid: int = pid  # to be given up, after a Ctrl-C
                _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        if pid == 0:
            # In this frame, and not in a function of its own, which would cost two or three page faults.
            try:
                if has_more_to_do:
                    if opened is not None:
                        parent_sentinel = opened.hang_on_to_parent(process_obj.daemon, ends is not None)
                    after_fork()
                else:
                    gc.freeze()
                    atexit._clear()
                if null_input.is_at_0:
                    os.dup2(null.fd, 0)
                sys.stdin = null.stream
                if recorded_stderr.replacement is not None:
                    sys.stderr = sys.__stderr__ = recorded_stderr.replacement  # type: ignore[misc]
                _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
            except KeyboardInterrupt:
                end_by_interrupt()
            finally:
                try:
                    os._exit(live(process_obj, parent_sentinel, self._box))
                finally:  # a Ctrl-C as it came back
                    end_by_interrupt()


def live_as(process_obj: BaseProcess[Any], box: Box, mask: set[int], hangs_on_by: int) -> NoReturn:
    """Live, in a child that was cloned with others, the life of a daemon.

    Args:
        process_obj: whose life.
        box: its black box.
        mask: the signals that shall be blocked.
        hangs_on_by: the descriptor by which it hangs on to its parent already; -1 for none.
    """
    parent_sentinel = None
    try:
        opened = process_state.lifeline
        if hangs_on_by >= 0:
            lifeline.hangs_on_by(hangs_on_by)
        elif opened is not None:
            parent_sentinel = opened.hang_on_to_parent(True, False)
        after_fork()
        replace_streams()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    except KeyboardInterrupt:
        end_by_interrupt()
    finally:
        try:
            os._exit(live(process_obj, parent_sentinel, box))
        finally:  # a Ctrl-C as it came back
            end_by_interrupt()
