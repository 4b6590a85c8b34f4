"""The loop of a fork server: fork on request. The client's side is `client.py`.

    receive an order -> clone or fork -> answer with the pidfd
        child: wait for the job -> become what it says

`_programs/run_forkserver.py` runs it in an interpreter of its own, `serve_pool` in a copy of the client.

A fork server has one thread. A Ctrl-C is not for it, but for processes that run something. It ends when its client
does, by its socket and by the lifeline.
"""

from __future__ import annotations

import _signal
import _socket
import _thread
import errno
import gc
import os
import select

from polyproc._base.modules import write
from polyproc._base.native import native
from polyproc._pickling.sending import received
from polyproc._platform.handles import has_pidfds, hold_back_no_more, new_poll, open_pidfd, ready
from polyproc._platform.posix import PROC, close_quietly, fork, forks
from polyproc._process.child_life import after_fork, hang_on, lifeline
from polyproc._process.job import perform_and_exit
from polyproc._start import protocol

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from polyproc._process.ends import Ends

# Seconds without an order until one that has time is made. A program takes 10 ms to end, and many start only a few;
# one that has started more will start again.
_PATIENCE, _PATIENCE_WITH_MANY = 0.025, 0.005
_MANY = 4


class Loop:
    """A fork server's loop, and what it has to know.

    Args:
        socket_fd: this side of the socketpair.
        lifeline_fd: the client's lifeline, for the children.
        client_pid: the client.
        comm: this process's name, as ps shows it, and its children's until they have a job.
        at_birth: what a child does before it waits for its job; told whether that is to come at once.
        handlers: the children's handlers of signals, by number, where they differ from the fork server's.
    """

    def __init__(
        self,
        socket_fd: int,
        lifeline_fd: int,
        client_pid: int,
        comm: str,
        at_birth: Callable[[bool], object],
        handlers: dict[int, Any],
    ) -> None:
        self.sock = _socket.socket(fileno=socket_fd)
        self.sock.settimeout(None)
        self.lifeline_fd = lifeline_fd
        self.client_pid = client_pid
        self.client_pidfd = open_pidfd(client_pid)
        self._ends = None if has_pidfds() else _own_ends()
        self._clones = True
        self._at_birth = at_birth
        self._handlers = handlers
        on_end = _signal.getsignal(_signal.SIGCHLD)
        if on_end is not None and on_end != _signal.SIG_DFL:  # else somebody reaps the children that it reports
            self._handlers = {**handlers, int(_signal.SIGCHLD): on_end}
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        self.comm = _read_name()
        _rename(comm)
        self.reported: dict[int, tuple[int, int]] = {}  # pidfd -> (pid, status pipe)
        self._later: list[list[int]] = []  # the descriptors of orders that have time
        self._made = 0  # children

    def serve(self) -> dict[str, Any]:
        """Answer requests; return in a child, with its job. In the fork server it ends the process, with its client."""
        while True:
            # Not later where the end of a child would be told late meanwhile.
            patience = _PATIENCE if self._made <= _MANY else _PATIENCE_WITH_MANY
            if self._later and (self.reported or not ready([self.sock.fileno()], patience)):
                job = self._make_later_ones(False)
            elif self.reported and not self._wait_for_request():
                continue
            else:
                try:
                    when, fds = protocol.receive(self.sock)
                except (EOFError, ConnectionError):
                    os._exit(0)
                if type(when) is list:
                    self._load(when)
                    continue
                if when == protocol.LATER:
                    self._later.append(fds)
                    continue
                job = self._make_later_ones(True)
                if job is None and when != protocol.HURRY:
                    job = self._make(fds, when == protocol.AT_ONCE)
            if job is not None:
                return job

    @staticmethod
    def _load(names: list[str]) -> None:
        for name in names:
            __import__(name)
        gc.freeze()

    def _make_later_ones(self, is_due: bool) -> dict[str, Any] | None:
        """Make what was to be made later; return in a child, with its job."""
        while self._later:
            job = self._make(self._later.pop(0), is_due)
            if job is not None:
                return job
        return None

    def _make(self, fds: list[int], is_due: bool) -> dict[str, Any] | None:
        if fds:
            return self._answer(fds, is_due)
        self._refuse(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
        return None

    def _answer(self, fds: list[int], is_due: bool) -> dict[str, Any] | None:
        status_fds: tuple[int, int] = (-1, -1)
        end_fd = -1
        try:
            end_fd = -1 if self._ends is None else self._ends.begin()
            made = self._clone()
            if made is None:
                status_fds = os.pipe()
                had_threads = bool(_thread._count())  # of what it has imported
                pid = fork()
                if pid == 0 and had_threads:
                    from polyproc._start.fork_with_threads import renew

                    renew()
                pidfd = -1 if pid == 0 else open_pidfd(pid)
            else:
                pid, pidfd = made
        except OSError as error:
            close_quietly(*fds, *status_fds, end_fd)
            if end_fd >= 0:
                _own_ends().finish()
            self._refuse(error)
            return None
        if pid == 0:
            close_quietly(end_fd)
            return self._become_child(fds, status_fds, is_due)
        self._made += 1
        if end_fd >= 0:
            _own_ends().finish()
            close_quietly(pidfd)
            pidfd = end_fd
        self._report_start(pid, pidfd, status_fds)
        close_quietly(*fds)
        return None

    def _clone(self) -> tuple[int, int] | None:
        """Make a child of the client; return None where that cannot be. In the child: (0, -1)."""
        if native.core is None or not self._clones or native.core.clone_ready() != 0:
            return None
        try:
            made: tuple[int, int] = forks.own(native.core.clone_sibling)
            return made
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EINVAL):
                raise
        self._clones = False  # a filter, or a kernel that does not know the flags
        return None

    def _refuse(self, error: OSError) -> None:
        try:
            protocol.send(self.sock, (-1, error.errno or errno.EAGAIN, error.strerror or str(error), 0), [])
        except ConnectionError:
            pass  # the client is gone: the next receive says so

    def _report_start(self, pid: int, pidfd: int, status_fds: tuple[int, int]) -> None:
        read_fd, write_fd = status_fds
        try:
            fds = [pidfd] if read_fd < 0 else [pidfd, read_fd]
            protocol.send(self.sock, (pid, 0, "", len(fds)), fds)
        except ConnectionError:
            pass  # the client is gone: the next receive says so
        if read_fd < 0:
            os.close(pidfd)
        else:
            os.close(read_fd)
            self.reported[pidfd] = (pid, write_fd)

    def _wait_for_request(self) -> bool:
        """Wait for a request or for the end of a child of our own; tell the client of the latter."""
        poller = new_poll()
        poller.register(self.sock, select.POLLIN)
        for pidfd in self.reported:
            poller.register(pidfd, select.POLLIN)
        ready = [fd for fd, _ in poller.poll()]
        for fd in ready:
            if fd in self.reported:
                pid, status_fd = self.reported.pop(fd)
                _, status = os.waitpid(pid, 0)
                code = os.waitstatus_to_exitcode(status)
                try:
                    write(status_fd, code.to_bytes(8, "little", signed=True))
                except BrokenPipeError:
                    pass  # nobody waits for it any more
                close_quietly(status_fd, fd)
        return self.sock.fileno() in ready

    def _become_child(self, fds: list[int], status_fds: tuple[int, int], is_due: bool) -> dict[str, Any]:
        """Close what is the fork server's; wait for the job."""
        self.sock.close()
        close_quietly(*status_fds, *(fd for fds in self._later for fd in fds))
        for pidfd, (_, status_fd) in self.reported.items():
            close_quietly(pidfd, status_fd)
        after_fork()
        is_clients = os.getppid() == self.client_pid
        if is_clients:
            close_quietly(self.client_pidfd)
        self._at_birth(is_due or ready([fds[0]], 0) != [])
        parent_fd = self.client_pidfd if self._ends is None else os.dup(self.lifeline_fd)
        channel = _socket.socket(fileno=fds[0])
        channel.settimeout(None)
        job = receive_job(channel, self.lifeline_fd, self.comm, self._handlers)
        if not is_clients or self._ends is not None:
            job["parent_sentinel"] = parent_fd
        return job


def serve_pool(socket_fd: int, client_pid: int, comm: str, mask: set[int]) -> NoReturn:
    """Serve as a pool's fork server: a copy of its client, which that has just forked; in a child, live its life.

    SIGINT and SIGTERM are blocked; `mask` is what shall be.
    """
    from polyproc._start.fork import replace_streams  # its client has loaded it; others do without

    hold_back_no_more()  # or `after_fork` does, and it hears Ctrl-C again
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    handlers = {}
    on_sigterm = _signal.getsignal(_signal.SIGTERM)
    if on_sigterm is not None:  # else it was not set from Python, and cannot be set again
        handlers[int(_signal.SIGTERM)] = on_sigterm
        _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    _signal.set_wakeup_fd(-1)  # an event loop's, which shall not hear of our signals
    lifeline_fd = lifeline.take_inherited()
    hang_on(os.dup(lifeline_fd))
    after_fork()
    replace_streams()
    # A child hangs on to the client before it has a job: others may hold the client's end of its channel.
    loop = Loop(socket_fd, lifeline_fd, client_pid, comm, lambda _: hang_on(os.dup(lifeline_fd)), handlers)
    job = loop.serve()
    perform_and_exit(job, job.get("parent_sentinel"))


def receive_job(channel: protocol.Socket, lifeline_fd: int, name: str, handlers: dict[int, Any]) -> dict[str, Any]:
    """Receive, in a child, its job, and be from then on the process that it describes.

    Args:
        channel: where it comes.
        lifeline_fd: the client's lifeline.
        name: what ps shows it as.
        handlers: its handlers of signals: a Ctrl-C is for it if it comes when the job is there.
    """
    hears = handlers.get(_signal.SIGINT, _signal.SIG_IGN) != _signal.SIG_IGN
    heard = []

    def hear(number: int, frame: object) -> None:
        if ready([channel.fileno()], 0):
            heard.append(number)

    if hears:
        _signal.signal(_signal.SIGINT, hear)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGINT,))
    try:
        job, (box_fd, *received.fds) = protocol.receive_job(channel)
    except (EOFError, ConnectionError):
        os._exit(0)  # the client was killed, or has no more use for this child: it was never a process of anybody
    if hears:
        # From here to the job itself it waits, to be told as one that comes in the job.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGINT,))
        job["hears_interrupt"] = True
    channel.close()
    for number, handler in handlers.items():
        _signal.signal(number, handler)
    if heard:
        _signal.raise_signal(_signal.SIGINT)
    _rename(name)
    if "environ" in job:
        for variable, value in job.pop("environ").items():
            if value is None:
                os.environb.pop(variable, None)
            else:
                os.environb[variable] = value
    job["box"] = box_fd
    if job["hang_on"]:
        job["lifeline"] = lifeline_fd
    else:
        os.close(lifeline_fd)
    return job


def _own_ends() -> Ends:
    from polyproc._process.ends import ends

    return ends


def _read_name() -> str:
    try:
        with open(f"{PROC}/self/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:  # no /proc
        return "python"


def _rename(name: str) -> None:
    """Set this process's name, as ps shows it. A child bears its fork server's until it has a job (client.py)."""
    try:
        if native.core is not None:
            native.core.set_name(name)
            return
    except OSError:  # a filter
        pass
    try:
        with open(f"{PROC}/self/comm", "w", encoding="utf-8") as file:
            file.write(name)
    except OSError:  # no /proc: nobody reads it there, either
        pass
