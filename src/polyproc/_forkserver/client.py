"""Fork servers as their clients see them: single-threaded processes that fork on order, the start method's and pools'.

A client and its fork server are one to one, joined by an unnamed socketpair: nobody else can ask it, and both see at
once when the other is gone. Its children are ours (`csrc/core/pp_clone.h`); where the fork server cannot make such, as
it has threads, or without the C core, it forks children of its own and reports how they end.
"""

from __future__ import annotations

import _signal as signal  # `signal` makes enumerations of it
import _thread
import errno
import functools
import itertools
import os
import sys
import time
from collections import deque

from polyproc._base.modules import loaded
from polyproc._base.native import native
from polyproc._base.process_state import log
from polyproc._base.typing import Any, NamedTuple, NoReturn, Sequence
from polyproc._pickling.main_definitions import main_definitions
from polyproc._pickling.pickler import InheritedValue, inherited_values
from polyproc._platform.circumstances import Circumstances, changes_since, environ
from polyproc._platform.handles import Heard, HeldBack, children_of, has_pidfds, open_pidfd, pause, ready, send_signal
from polyproc._platform.posix import PROC, close_quietly, fork, forks, noting
from polyproc._process.black_box import Box
from polyproc._process.child_life import lifeline
from polyproc._process.process import BaseProcess
from polyproc._start import protocol
from polyproc._start.child import Child, begin_once, flush_before_start, make_box
from polyproc._start.fork import ForkChild, live_as, null_input, recorded_stderr

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
            raise ConnectionAbortedError("a message to the fork server was interrupted: it is of no more use")
        self._is_torn = True

    def _receive(self) -> tuple[Any, list[int]]:
        if self._sock.is_there():
            with Heard():
                answers = ready([self._sock.fileno()], self._limit)
            if not answers:
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

    def hurry(self) -> None:
        """Make the fork server fork now the children that were ordered for later. Raises ConnectionError."""
        if self._dawdles:
            self._begin_to_speak()
            self._hurry()
            self._is_torn = False

    def load(self, names: list[str]) -> None:
        """Make the fork server load modules before its next child. If it is gone, the next order will see that."""
        try:
            self._begin_to_speak()
            protocol.send(self._sock, names, [])
        except ConnectionError:
            return
        self._is_torn = False

    def _hurry(self) -> None:
        protocol.send(self._sock, protocol.HURRY, [])
        self._dawdles = False

    def collect(self) -> Forked:
        """Receive the child that was ordered first. Raises what fork raised in the fork server."""
        self._begin_to_speak()
        ordered = self._ordered.popleft()
        try:
            if self._dawdles and not ready([self._sock.fileno()], 0):
                self._hurry()
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
        try:
            while self._ordered:
                try:
                    self.collect().give_up()
                except (EOFError, ConnectionError):  # it is gone: so are those that wait, when their channels are
                    break
                except OSError:  # that one could not be made
                    pass
        finally:  # after a Ctrl-C, too, which is heard while it waits: nobody else knows of it any more
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


# A pool's own: a copy of this process, made while it has no threads of ours, that forks for it from then on.
#
# A pool makes its first workers and its fork server before it starts its threads, and has those that come later from
# the fork server: a fork copies the locks that other threads hold, and nobody could unlock them in the child. So
# every worker sees the program as it was when the pool was made.
#
#     client                       fork server        workers
#     fork ----------------------> clones the first ----------> live as if the client had forked them
#       <------------------ pids ---- waits for orders
#     order (as protocol.py has it) ---> clone ------> hangs on to the client, waits for its job
#     the job: its name, its arguments, descriptors ------------> becomes that, with what was kept
#
# Workers need no pickling of what the pool was made with (an initializer may be a lambda): that is kept, in memory.

_TRIES = 3
_OTHERS_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # what a terminal or a service manager sends to all
_SIGINT = (signal.SIGINT,)
_LIMIT = 5.0  # seconds without an answer: it was stopped, or the machine is at its end
_MAX_AHEAD = 4  # of so many the socket holds orders and answers, whoever is slow


class Parking(NamedTuple):
    """How first children wait for their first message: they run nothing before, and end if the queue is shut down.

    Attributes:
        tasks: the core's queue of each.
        ignored: the signals that they ignore meanwhile. What the program has registered for others would not be run.
    """

    tasks: Sequence[Any]
    ignored: tuple[int, ...]


def may_park(processes: Sequence[BaseProcess[Any]], ignored: Sequence[int]) -> bool:
    """Return whether nobody would notice if processes wait before they run their targets.

    They hear no signals of Python's: a program's handlers of others than the `ignored` would be theirs, too. A class of
    its own may do more in them.
    """
    heard = (number for number in range(1, signal.NSIG) if number not in ignored)
    return (
        log.sink is None
        and not any(callable(signal.getsignal(number)) for number in heard)
        and all(
            type(process).run is BaseProcess.run and type(process)._bootstrap is BaseProcess._bootstrap
            for process in processes
        )
    )


class ForkServerGone(Exception):
    """The fork server has died."""


class _First:
    """A child that is made together with its fork server: it runs before it is started.

    Attributes:
        process: whose life it lives.
        tasks: the queue whose first message it waits for before it runs anything; None if it does not.
        box: its black box.
        pid: its pid; 0 as long as there is none.
        is_started: whether it is its handle's to reap.
    """

    def __init__(self, process: BaseProcess[Any], tasks: Any) -> None:
        self.process = process
        self.tasks = tasks
        self.box = Box(-1)
        self.pid = 0
        self.is_started = False
        make_box(self.box)

    def forget(self) -> None:
        """End it if nobody has started it."""
        vars(self.process).pop("_Popen", None)
        if self.is_started:
            return
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):  # reaped by somebody else
                pass
        self.box.close()


class FirstChild(ForkChild):
    """The handle of a child that was made together with its fork server.

    Attributes:
        is_parked: whether it waits for its first message, and runs nothing before.
    """

    _is_flushed = True  # before the fork

    def __init__(self, process_obj: BaseProcess[Any], first: _First) -> None:
        self._first, self._box = first, first.box
        self.is_parked = first.tasks is not None
        super().__init__(process_obj)
        del self._first

    def _start(self, process_obj: BaseProcess[Any]) -> None:
        # A Ctrl-C waits until the pidfd is somebody's, as in a fork.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGINT)
        try:
            self.pid, self._first.is_started = self._first.pid, True
            self._started(self.pid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


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
        self._first: list[_First] = []
        self._team: Any = None  # that tells the pids of those, as long as nobody has asked

    def fork(self, first: Sequence[BaseProcess[Any]] = (), parking: Parking | None = None) -> None:
        """Make the process, and if that can be the first children, daemons: they run as soon as this returns, or park.

        Each is still to be started: `forget_first` ends those that were not. Raises OSError if the system could not.
        """
        begin_once()
        lifeline.open()
        main_definitions.note_start()
        null_input.prepare()
        recorded_stderr.prepare()
        flush_before_start()
        self._environ = environ().copy()
        with HeldBack():
            try:
                self._circumstances = Circumstances()
                self._fork(self._kept, first, parking)
            except BaseException:  # no process or descriptor left, or a Ctrl-C
                self.end()
                raise

    def _make_first(self, first: Sequence[BaseProcess[Any]], parking: Parking | None) -> None:
        for number, process in enumerate(first):
            process._check_start()
            self._first.append(_First(process, None if parking is None else parking.tasks[number]))

    def _fork(self, kept: InheritedValue, first: Sequence[BaseProcess[Any]], parking: Parking | None) -> None:
        waits = _can_wait()
        if not waits:
            _program()  # here, once: each fork server would load it
        elif has_pidfds():
            self._make_first(first, parking)
        client, comm = os.getpid(), new_comm()
        ours, theirs = protocol.socketpair()
        made: list[Any] = []
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OTHERS_SIGNALS)  # until the fork server has its handlers
        try:
            number = theirs.fileno()
            if waits:
                how = None if parking is None else self._how_to_park(parking, ours.fileno(), number, mask)
                _fork_to_wait(number, len(self._first), comm, how, made)
            else:
                _fork(made)
            pid, team, place, hangs_on_by = made[0] if waits else (made[0], None, -1, -1)
            if place >= 0:
                if hangs_on_by < 0:  # else it has closed them, and the numbers may be others'
                    close_quietly(ours.fileno(), number)
                process = self._first[place].process
                process._config["parked"] = self._first[place].tasks is not None
                live_as(process, self._first[place].box, mask, hangs_on_by)
            if pid == 0:
                _be_fork_server(kept, ours.fileno(), theirs.detach(), client, comm, mask)
            self._client, self._team = ForkServerClient(ours, pid, comm, _LIMIT), team
            self._pidfd = open_pidfd(pid)
            log.debug("fork server forked, pid %d", pid)
        except BaseException:  # a Ctrl-C when it was there already
            if made:
                pid, team = made[0][:2] if waits else (made[0], None)
                self._client, self._team = ForkServerClient(ours, pid, comm, _LIMIT), team
            raise
        finally:
            if self._client is None:
                ours.close()
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _how_to_park(self, parking: Parking, ours: int, theirs: int, mask: set[int]) -> Any:
        """Return what the core is told."""
        null = null_input.file if null_input.is_at_0 else None
        workers = tuple((first.tasks, first.box.fd) for first in self._first)
        stdin = -1 if null is None else null.fd
        return workers, *lifeline.ends(), ours, theirs, stdin, parking.ignored, tuple(mask)

    @property
    def makes_first(self) -> bool:
        """Whether it makes the first children now."""
        return self._team is not None

    def find_first(self) -> None:
        """Assign each first child, once it is made, to the process object whose start will find it."""
        team, client = self._team, self._client
        if team is None or client is None:
            return
        for first, pid in zip(self._first, native.core.team_pids(team, client.pid), strict=True):  # type: ignore[union-attr]
            if pid > 0:
                first.pid = pid
                vars(first.process)["_Popen"] = functools.partial(FirstChild, first=first)
                continue
            vars(first.process)["_Popen"] = self._launch_unmade
            if pid == -errno.ECHILD:  # the fork server died before it could tell, and what it has made leaves
                client.has_unborn = True
        self._team = None  # last: after a Ctrl-C they are asked for again

    def forget_first(self) -> None:
        """End the first children that nobody has started."""
        self.find_first()
        while self._first:
            self._first.pop().forget()

    def order(self, children: int) -> None:
        """Order children that will be started at once; more than a few are made as they are started."""
        client = self._client
        try:
            while client is not None and len(client) < min(children, _MAX_AHEAD):
                client.order()
        except OSError:  # no descriptor left, or it is gone: the start will see
            pass

    def _launch_unmade(self, process_obj: BaseProcess[Any]) -> Child:
        """Start what could not be made as a first child. There are threads by now, so this process forks last."""
        del vars(process_obj)["_Popen"]
        return self.launch(process_obj)

    def launch(self, process_obj: BaseProcess[Any]) -> Child:
        """Start a process object; by a fork of this process, if the fork server was killed, or has what is no more.

        Raises OSError.
        """
        if self._client is not None and not self._circumstances.are_the_same():
            log.info("the fork server (pid %s) is out of date: forking without it", self._client.pid)
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
        if changes := changes_since(self._environ):
            job["environ"] = changes
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
        self.forget_first()
        if self._circumstances is not None:
            self._circumstances.close()
        client, self._client = self._client, None
        if client is not None:
            client.end()
            close_quietly(self._pidfd)
            self._pidfd = -1


def _program() -> Any:
    from polyproc._forkserver.fork_loop import serve_pool

    return serve_pool


def _can_wait() -> bool:
    """Return whether a fork server can wait before it runs anything: it holds nothing whose end others wait for."""
    other: Any = loaded("polyproc._forkserver.fork_server")
    has_others = loaded("polyproc._start.spare") is not None or (other is not None and other.forkserver.is_there())
    is_systems_own = type(os.fork) is type(os.getpid)  # and not what gevent has put there
    return native.core is not None and is_systems_own and not has_others and not _thread._count()


def _fork_to_wait(fd: int, children: int, comm: str, how: Any, made: list[Any]) -> None:
    """Fork; the child clones others, and waits for `fd` before it runs anything: most fork servers are never needed."""
    for _ in range(children + 1):
        sys.audit("os.fork")
    forks.own(noting(functools.partial(native.core.fork_parked, fd, children, comm, how), made))  # type: ignore[union-attr]


def _fork(made: list[int]) -> None:
    if not _thread._count():
        fork(made)
        return
    from polyproc._start.fork_with_threads import warn_and_fork

    warn_and_fork(made)


def _be_fork_server(kept: InheritedValue, *args: Any) -> NoReturn:
    try:
        inherited_values.kept = kept
        client_fd, *rest = args
        os.close(client_fd)
        _program()(*rest)
    finally:
        os._exit(1)
