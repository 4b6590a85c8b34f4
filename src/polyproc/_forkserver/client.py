"""A fork server, the start method's or a pool's, as its client sees it: a single-threaded process that forks on order.

A client and its fork server are one to one, joined by an unnamed socketpair: nobody else can ask it, and both see at
once when the other is gone. Its children are ours (`csrc/core/pp_clone.h`); where the fork server cannot make such, as
it has threads, or without the C core, it forks children of its own and reports how they end.
"""

from __future__ import annotations

import _signal as signal  # `signal` makes enumerations of it
import errno
import itertools
import os
import time
from collections import deque

from polyproc._base.typing import Any, NamedTuple
from polyproc._platform.handles import pause, ready
from polyproc._platform.posix import PROC, close_quietly
from polyproc._start import protocol
from polyproc._start.stopping import children_of

_UNBORN_GRACE = 1.0
_numbers = itertools.count()


class Forked(NamedTuple):
    """A child as its fork server made it: it waits for its job."""

    pid: int
    pidfd: int
    status_fd: int  # -1 if the child is ours, else where the fork server tells how it ended
    channel: protocol.Channel

    def give(self, job: dict[str, Any], fds: list[int]) -> bool:
        """Give it its job and `fds`; return False if it was killed while it waited: it has not got the job."""
        try:
            protocol.send_job(self.channel, job, fds)
        except ConnectionError:
            self.give_up()
            return False
        except BaseException:
            self.give_up()
            raise
        self.channel.close()
        return True

    def give_up(self) -> None:
        """End it: without a job it leaves by itself."""
        self.channel.close()
        if self.status_fd < 0:
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:  # reaped by somebody else
                pass
        close_quietly(self.pidfd, self.status_fd)


class ForkServerClient:
    """A fork server that runs.

    Args:
        sock: our end of its socketpair.
        pid: its process.
        comm: its name, as ps shows it.
        limit: after how many seconds without an answer it counts as dead; None for never.

    Attributes:
        has_unborn: whether it may have made a child that we were not told of.
    """

    def __init__(self, sock: protocol.Channel, pid: int, comm: str, limit: float | None = None) -> None:
        self.pid = pid
        self._sock = sock
        self._comm = comm
        self._limit = limit
        self.has_unborn = False
        self._ordered: deque[protocol.Channel] = deque()  # our ends of the channels of children that were ordered
        self._dawdles = False  # whether it may wait before it makes them
        # Whether an exception (a signal handler's) has come in the middle of what we say to each other: an answer could
        # then be taken for another's, and so there are no more.
        self._is_torn = False

    def __len__(self) -> int:
        """Return how many children are ordered."""
        return len(self._ordered)

    def has_ended(self) -> bool:
        """Return whether it has, and reap it; or will, since this program has closed our end of its socket."""
        if not self._sock.is_there():
            return True
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
        except ChildProcessError:
            return True

    def receive(self) -> tuple[Any, list[int]]:
        """Receive what it says next. Raises EOFError and ConnectionError when it is gone, or does not answer."""
        self._begin_to_speak()
        answer = self._receive()
        self._is_torn = False
        return answer

    def _begin_to_speak(self) -> None:
        if self._is_torn:
            raise ConnectionAbortedError("what was said to the fork server was interrupted")
        self._is_torn = True

    def _receive(self) -> tuple[Any, list[int]]:
        if self._limit is not None and self._sock.is_there() and not ready([self._sock.fileno()], self._limit):
            raise EOFError("the fork server does not answer")
        return protocol.receive(self._sock)

    def order(self, when: int = protocol.AT_ONCE) -> None:
        """Order a child. Raises OSError without a descriptor, ConnectionError when the fork server is gone."""
        ours, theirs = protocol.socketpair()
        try:
            self._begin_to_speak()
            try:
                protocol.send(self._sock, when, [theirs.fileno()])
            except OSError:  # it was not said
                self._is_torn = False
                raise
            self._ordered.append(ours)
            self._dawdles = when == protocol.LATER
            self._is_torn = False
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def collect(self) -> Forked:
        """Receive the child that was ordered first. Raises what fork raised in the fork server."""
        self._begin_to_speak()
        ordered = self._ordered.popleft()
        try:
            if self._dawdles and not ready([self._sock.fileno()], 0):
                protocol.send(self._sock, protocol.HURRY, [])
            self._dawdles = False
            (pid, number, text, sent), received = self._receive()
            self._is_torn = False
        except BaseException:
            self.has_unborn = True  # perhaps
            ordered.close()
            raise
        if not number and len(received) < sent:
            # The kernel drops descriptors for which we have no room. The child has not got its job: nothing has run.
            close_quietly(*received)
            _kill_unheard(pid)
            number, text = errno.EMFILE, os.strerror(errno.EMFILE)
        if number:
            ordered.close()
            raise OSError(number, text)
        pidfd, status_fd = (*received, -1)[:2]
        return Forked(pid, pidfd, status_fd, ordered)

    def end(self) -> None:
        """Close the children that wait, and the fork server, and wait for its end."""
        while self._ordered:
            try:
                self.collect().give_up()
            except (EOFError, ConnectionError):  # it is gone: so are those that wait, when their channels are
                break
            except OSError:  # that one could not be made
                pass
        self.abandon()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass
        if self.has_unborn or self._is_torn:
            _reap_unborn(self._comm)

    def abandon(self) -> None:
        """Close what stands for it. Alone it is what a forked child does: its parent's fork server is not its own."""
        self._sock.close()
        while self._ordered:
            self._ordered.popleft().close()


def new_comm() -> str:
    """Return a name for a fork server, by which its children that got no job are found."""
    return f"pp-server-{next(_numbers) % 1000}"


def _kill_unheard(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:  # it is the fork server's child, which reaps it
        pass


def _reap_unborn(comm: str) -> None:
    """Reap a child that a fork server made for us and died before it could tell.

    It bears its fork server's name until it has a job, and leaves as soon as it sees that it will not get one.
    """
    deadline = time.monotonic() + _UNBORN_GRACE
    for pid in children_of(os.getpid()):
        while _comm_of(pid) == comm and time.monotonic() < deadline:
            try:
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    break
            except ChildProcessError:  # reaped by somebody else
                break
            pause(0.001)


def _comm_of(pid: int) -> str | None:
    try:
        with open(f"{PROC}/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return None
