"""A copy of this process, made while it has no threads of ours, that forks for it from then on.

A pool forks its first workers and its template before it starts its threads, and has those that come later from the
template: a fork copies the locks that other threads hold, and nobody could unlock them in the child. So every worker
sees the program as it was when the pool was made.

    client                       template                         worker
    fork ----------------------> waits for orders
    order (as template_protocol.py has it) ---> clone --------> hangs on to the client, waits for its job
    the job: who it is, its arguments, descriptors -------------> becomes that, with what was kept

Workers need no pickling of what the pool was made with (an initializer may be a lambda): that is kept, in memory.
"""

from __future__ import annotations

import _thread
import os
import signal
from typing import TYPE_CHECKING, Any, NoReturn

from polyproc._launch.fork import Popen as ForkedChild
from polyproc._launch.fork import kept_error, null_input
from polyproc._launch.popen import flush_before_start
from polyproc._launch.template import Template, new_comm
from polyproc._launch.template_protocol import socketpair
from polyproc._lazy import load
from polyproc._log import log
from polyproc._pickling.kept import Kept, held
from polyproc._pickling.main_definitions import main_definitions
from polyproc._platform.circumstances import Circumstances
from polyproc._platform.handles import open_pidfd, send_signal
from polyproc._platform.interpreter import environ
from polyproc._platform.posix import close_quietly
from polyproc._process.lifeline import lifeline

if TYPE_CHECKING:
    from polyproc._launch.popen import Popen as ChildHandle
    from polyproc._process.process import BaseProcess

_TRIES = 3
_OTHERS_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # what a terminal or a service manager sends to all
_LIMIT = 5.0  # seconds without an answer: it was stopped, or the machine is at its end
_MOST_AHEAD = 4  # of so many the socket holds orders and answers, whoever is slow


class TemplateGone(Exception):
    """The template has died."""


class ForkTemplate:
    """The client's side. Its callers have a lock of their own.

    Args:
        kept: what children find in their memory.

    Raises:
        OSError: the system could not make a process.
    """

    def __init__(self, kept: Kept[Any]) -> None:
        main: Any = load("polyproc._entry.fork_template_main", "main")  # in the parent: it would cost each template
        lifeline.open()
        main_definitions.note_start()
        null_input.prepare()
        kept_error.prepare()
        flush_before_start()
        self._environ = environ().copy()
        self._circumstances = Circumstances()
        self._template: Template | None = None
        self._pidfd = -1
        try:
            self._fork(main, kept)
        except BaseException:  # no process or descriptor left, or a Ctrl-C
            self.end()
            raise

    def _fork(self, main: Any, kept: Kept[Any]) -> None:
        client, comm = os.getpid(), new_comm()
        ours, theirs = socketpair()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OTHERS_SIGNALS)  # until the template has its handlers
        try:
            pid = os.fork() if _thread._count() == 0 else load("polyproc._launch.thread_warning", "warn_and_fork")()  # type: ignore[operator]
            if pid == 0:
                _be_template(main, kept, ours.fileno(), theirs.detach(), client, comm, mask)
            self._template = Template(ours, pid, comm, _LIMIT)
            self._pidfd = open_pidfd(pid)
            log.debug("template forked, pid %d", pid)
        finally:
            if self._template is None:
                ours.close()
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def order(self, children: int) -> None:
        """Have children made that will be started at once; more than a few are made as they are."""
        template = self._template
        try:
            while template is not None and len(template) < min(children, _MOST_AHEAD):
                template.order()
        except OSError:  # no descriptor left, or it is gone: the start will see
            pass

    def launch(self, process_obj: BaseProcess[Any]) -> ChildHandle:
        """Start a process object; by a fork of this process, if the template was killed, or has what is no more.

        Raises OSError.
        """
        if self._template is not None and not self._circumstances.are_the_same():
            log.info("the template (pid %s) has what was inherited then: forking without it", self._template.pid)
            self.end()
        if self._template is not None:
            try:
                make: Any = load("polyproc._launch.copied_child", "Popen")
                return make(process_obj, self)  # type: ignore[no-any-return]
            except TemplateGone:
                log.info("the template (pid %s) died: forking without it", self._template.pid)
                self.end()
        return ForkedChild(process_obj)

    def start(self, told: dict[str, Any], fds: list[int]) -> tuple[int, int, int]:
        """Give a child its job and `fds`; return its pid, pidfd and the descriptor that tells how it ended, if any."""
        template = self._template
        assert template is not None  # launch has looked
        if environ() != self._environ:
            told["environ"] = environ().copy()
        try:
            for _ in range(_TRIES):
                if not len(template):
                    template.order()
                forked = template.collect()
                if forked.give(told, fds):
                    return forked[:3]
        except (EOFError, ConnectionError):
            pass
        raise TemplateGone

    def kill(self) -> None:
        """Send it SIGKILL: it holds nothing."""
        if self._template is None:
            return
        try:
            send_signal(self._pidfd, self._template.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended
            pass

    def end(self) -> None:
        """End it and wait for it; those that it has made live on."""
        self.kill()
        self._circumstances.close()
        template, self._template = self._template, None
        if template is not None:
            template.end()
            close_quietly(self._pidfd)
            self._pidfd = -1


def _be_template(main: Any, kept: Kept[Any], *args: Any) -> NoReturn:
    try:
        held.kept = kept
        client_fd, *rest = args
        os.close(client_fd)
        main(*rest)
    finally:
        os._exit(1)
