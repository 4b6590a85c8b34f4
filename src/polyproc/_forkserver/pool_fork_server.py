"""A copy of this process, made while it has no threads of ours, that forks for it from then on.

A pool forks its first workers and its fork server before it starts its threads, and has those that come later from the
fork server: a fork copies the locks that other threads hold, and nobody could unlock them in the child. So every worker
sees the program as it was when the pool was made.

    client                       fork server        worker
    fork ----------------------> waits for orders
    order (as protocol.py has it) ---> clone ------> hangs on to the client, waits for its job
    the job: its name, its arguments, descriptors ------------> becomes that, with what was kept

Workers need no pickling of what the pool was made with (an initializer may be a lambda): that is kept, in memory.
"""

from __future__ import annotations

import _signal as signal  # `signal` makes enumerations of it
import _thread
import os
import sys

from polyproc._base.modules import loaded
from polyproc._base.native import native
from polyproc._base.process_state import log
from polyproc._base.typing import TYPE_CHECKING, Any, NoReturn
from polyproc._forkserver.client import ForkServerClient, new_comm
from polyproc._pickling.main_definitions import main_definitions
from polyproc._pickling.pickler import InheritedValue, inherited_values
from polyproc._platform.circumstances import Circumstances, environ
from polyproc._platform.handles import open_pidfd, send_signal
from polyproc._platform.posix import close_quietly, fork
from polyproc._process.parent import lifeline
from polyproc._start.child import flush_before_start
from polyproc._start.fork import ForkChild, null_input, recorded_stderr
from polyproc._start.protocol import socketpair

if TYPE_CHECKING:
    from polyproc._process.process import BaseProcess
    from polyproc._start.child import Child


_TRIES = 3
_OTHERS_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # what a terminal or a service manager sends to all
_LIMIT = 5.0  # seconds without an answer: it was stopped, or the machine is at its end
_MAX_AHEAD = 4  # of so many the socket holds orders and answers, whoever is slow


class ForkServerGone(Exception):
    """The fork server has died."""


class PoolForkServer:
    """The client's side. Its callers have a lock of their own.

    It is known before there is a process: whoever holds it can `end` that, wherever a Ctrl-C comes.

    Args:
        kept: what children find in their memory.
    """

    def __init__(self, kept: InheritedValue) -> None:
        self._kept = kept
        self._environ: Any = None
        self._circumstances: Any = None
        self._client: ForkServerClient | None = None
        self._pidfd = -1

    def fork(self) -> None:
        """Make the process. Raises OSError if the system could not."""
        lifeline.open()
        main_definitions.note_start()
        null_input.prepare()
        recorded_stderr.prepare()
        flush_before_start()
        self._environ = environ().copy()
        self._circumstances = Circumstances()
        try:
            self._fork(self._kept)
        except BaseException:  # no process or descriptor left, or a Ctrl-C
            self.end()
            raise

    def _fork(self, kept: InheritedValue) -> None:
        waits = _can_wait()
        if not waits:
            _program()  # here, once: each fork server would load it
        client, comm = os.getpid(), new_comm()
        ours, theirs = socketpair()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OTHERS_SIGNALS)  # until the fork server has its handlers
        try:
            pid = _fork_to_wait(theirs.fileno()) if waits else _fork()
            if pid == 0:
                _be_fork_server(kept, ours.fileno(), theirs.detach(), client, comm, mask)
            self._client = ForkServerClient(ours, pid, comm, _LIMIT)
            self._pidfd = open_pidfd(pid)
            log.debug("fork server forked, pid %d", pid)
        finally:
            if self._client is None:
                ours.close()
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def order(self, children: int) -> None:
        """Order children that will be started at once; more than a few are made as they are started."""
        client = self._client
        try:
            while client is not None and len(client) < min(children, _MAX_AHEAD):
                client.order()
        except OSError:  # no descriptor left, or it is gone: the start will see
            pass

    def launch(self, process_obj: BaseProcess[Any]) -> Child:
        """Start a process object; by a fork of this process, if the fork server was killed, or has what is no more.

        Raises OSError.
        """
        if self._client is not None and not self._circumstances.are_the_same():
            log.info("the fork server (pid %s) has what was inherited then: forking without it", self._client.pid)
            self.end()
        if self._client is not None:
            try:
                from polyproc._start.waiting_child import CopiedChild as make

                return make(process_obj, self)
            except ForkServerGone:
                log.info("the fork server (pid %s) died: forking without it", self._client.pid)
                self.end()
        return ForkChild(process_obj)

    def start(self, job: dict[str, Any], fds: list[int]) -> tuple[int, int, int]:
        """Give a child its job and `fds`; return its pid, pidfd and the descriptor that tells how it ended, if any."""
        client = self._client
        assert client is not None  # launch has looked
        if environ() != self._environ:
            job["environ"] = environ().copy()
        try:
            for _ in range(_TRIES):
                if not len(client):
                    client.order()
                forked = client.collect()
                if forked.give(job, fds):
                    return forked[:3]
        except (EOFError, ConnectionError):
            pass
        raise ForkServerGone

    def kill(self) -> None:
        """Send it SIGKILL: it holds nothing."""
        if self._client is None:
            return
        try:
            send_signal(self._pidfd, self._client.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended
            pass

    def end(self) -> None:
        """End it and wait for it; those that it has made live on."""
        self.kill()
        self._circumstances.close()
        client, self._client = self._client, None
        if client is not None:
            client.end()
            close_quietly(self._pidfd)
            self._pidfd = -1


def _program() -> Any:
    from polyproc._forkserver.pool_fork_loop import main

    return main


def _can_wait() -> bool:
    """Return whether a fork server can wait before it runs anything: it holds nothing whose end others wait for."""
    other: Any = loaded("polyproc._forkserver.fork_server")
    has_others = loaded("polyproc._start.spare") is not None or (other is not None and other.forkserver.is_there())
    is_systems_own = type(os.fork) is type(os.getpid)  # and not what gevent has put there
    return native.core is not None and is_systems_own and not has_others and not _thread._count()


def _fork_to_wait(fd: int) -> int:
    """Fork; the child waits for `fd` before it runs anything: most fork servers are never needed."""
    sys.audit("os.fork")
    return native.core.fork_parked(fd)  # type: ignore[union-attr, no-any-return]


def _fork() -> int:
    if not _thread._count():
        return fork()
    from polyproc._start.fork_with_threads import warn_and_fork

    return warn_and_fork()


def _be_fork_server(kept: InheritedValue, *args: Any) -> NoReturn:
    try:
        inherited_values.kept = kept
        client_fd, *rest = args
        os.close(client_fd)
        _program()(*rest)
    finally:
        os._exit(1)
