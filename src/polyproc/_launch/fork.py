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

from polyproc._launch.popen import Popen as ChildHandle
from polyproc._lazy import load
from polyproc._pickling.main_definitions import main_definitions
from polyproc._platform.handles import pidfd
from polyproc._platform.posix import LongLived
from polyproc._process.bootstrap import after_fork, end_by_interrupt, has_more_to_reset, live
from polyproc._process.lifeline import lifeline
from polyproc._process.output import KeptStream

TYPE_CHECKING = False  # see popen.py: what this process has loaded, each forked child pays for
if TYPE_CHECKING:
    from typing import Any, TextIO

    from polyproc._process.process import BaseProcess


_SIGINT = (_signal.SIGINT,)

# Made in the parent, once: in each child it would cost a tenth of all its page faults.
kept_error = KeptStream("stderr")


class _NullInput:
    """/dev/null as standard input, made once in the parent for all its forked children. One instance."""

    def __init__(self) -> None:
        self.stream: TextIO | None = None
        self._file = LongLived()
        self._seen: object = self
        self.fd = -1

    def prepare(self) -> None:
        """Open it, in the parent; and see whether descriptor 0 is standard input, which a child then replaces, too."""
        if not self._file.is_there():
            self._file.take(os.open(os.devnull, os.O_RDONLY))
            self.stream = open(self._file.fd, encoding="utf-8", closefd=False)  # noqa: SIM115  (for all children)
            self._seen = self
        if sys.stdin is not self._seen:
            self._seen = sys.stdin
            try:
                self.fd = self._file.fd if sys.stdin is not None and sys.stdin.fileno() == 0 else -1
            except (OSError, ValueError, AttributeError):
                self.fd = -1


null_input = _NullInput()


class Popen(ChildHandle):
    """A child made by fork."""

    method = "fork"

    def _launch(self, process_obj: BaseProcess[Any]) -> None:
        if process_obj.daemon:
            lifeline.open()
        main_definitions.note_start()
        null_input.prepare()
        kept_error.prepare()
        parent_sentinel = None
        ends = None if pidfd.has_worked else self._begin_end()
        if ends is not None:
            lifeline.open()
        has_more_to_do = lifeline.is_held() or has_more_to_reset()
        # Until both know what they are, a Ctrl-C waits: it would be lost, or go on as a second copy of the caller.
        mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _SIGINT)
        pid = -1
        try:
            # A thread that Python does not know of is not counted; it holds no lock of Python's.
            pid = os.fork() if _thread._count() == 0 else load("polyproc._launch.thread_warning", "warn_and_fork")()  # type: ignore[operator]
            if pid:
                self._started(pid)
        finally:
            if pid:
                _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        if pid == 0:
            # In this frame, and not in a function of its own, which would cost two or three page faults.
            try:
                if ends is not None:
                    parent_sentinel = lifeline.copy_inherited()
                if has_more_to_do:
                    lifeline.hang_on_to_parent(process_obj.daemon)
                    after_fork()
                else:
                    gc.freeze()
                    atexit._clear()
                if null_input.fd >= 0:
                    os.dup2(null_input.fd, 0)
                sys.stdin = null_input.stream  # prepare has made it
                if kept_error.replacement is not None:
                    sys.stderr = sys.__stderr__ = kept_error.replacement  # type: ignore[misc]
                _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
            except KeyboardInterrupt:
                end_by_interrupt()
            finally:
                try:
                    os._exit(live(process_obj, parent_sentinel, self._box))
                finally:  # a Ctrl-C as it came back
                    end_by_interrupt()
