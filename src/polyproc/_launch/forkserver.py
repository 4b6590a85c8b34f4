"""Ask a template: a single-threaded process of ours that has imported what its children need, and forks for us.

A client and its template are one to one, joined by an unnamed socketpair: nobody else can ask it, and both see at
once when the other is gone. Its children are ours (`csrc/core/pp_clone.h`); where the template cannot make such, as
it has threads, or without the C core, it forks children of its own and reports how they end.
"""

from __future__ import annotations

import _socket
import errno
import gc
import itertools
import os
import signal
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from polyproc._cleanup.finalizers import run_finalizers
from polyproc._launch import forkserver_protocol as protocol
from polyproc._launch.popen import Popen as ChildHandle
from polyproc._launch.spawn import pack, start_program
from polyproc._launch.stopping import children_of
from polyproc._log import log
from polyproc._pickling.inherited import SentFd
from polyproc._platform.interpreter import environ
from polyproc._platform.posix import close_quietly
from polyproc._process.capture import capture, capture_extras, tracker_fds
from polyproc._process.lifeline import lifeline
from polyproc._process.main_code import describe_main

if TYPE_CHECKING:
    from polyproc._process.process import BaseProcess

_TRIES = 3
_UNBORN_GRACE = 1.0
_numbers = itertools.count()
_ON_ERROR = ("ignore", "warn", "fail")


class Forked(NamedTuple):
    """A child as its template made it: it waits for its job."""

    pid: int
    pidfd: int
    status_fd: int  # -1 if the child is ours, else where the template tells how it ended
    channel: protocol.Socket

    def give_up(self) -> None:
        """End it: without a job it leaves by itself."""
        self.channel.close()
        if self.status_fd < 0:
            os.waitpid(self.pid, 0)
        close_quietly(self.pidfd, self.status_fd)


class ForkServer:
    """The client's side of its template. One instance, `forkserver`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sock: protocol.Socket | None = None
        self._forkserver_pid: int | None = None
        self._preload: list[str] = ["__main__"]
        self._on_error = "warn"
        self._environ: dict[bytes, bytes] = {}
        self._report: tuple[list[tuple[str, str]], bool] | None = None
        self._ordered: protocol.Socket | None = None  # our end of the channel of a child that was ordered
        self._starts = 0
        self._comm = ""

    # -- what programs call ----------------------------------------------------------------------------------------

    def set_forkserver_preload(self, modules_names: list[str], *, on_error: str = "warn") -> None:
        """Set the modules that a template imports before it forks; takes effect when one is started.

        Args:
            modules_names: module names; "__main__" stands for the main module of this process.
            on_error: for a module that cannot be imported: "ignore" it, "warn" at the first start, or "fail" it.
        """
        if not all(type(name) is str for name in modules_names):
            raise TypeError("module_names must be a list of strings")
        if on_error not in _ON_ERROR:
            raise ValueError(f"on_error must be 'ignore', 'warn' or 'fail', got {on_error!r}")
        self._preload = list(modules_names)
        self._on_error = on_error

    def ensure_running(self) -> None:
        """Start a template unless one runs."""
        with self._lock:
            self._ensure_running()

    # -- the template ----------------------------------------------------------------------------------------------

    def _ensure_running(self) -> protocol.Socket:
        if self._sock is not None:
            if self._forkserver_pid is not None and _has_ended(self._forkserver_pid):
                self._drop()
            else:
                return self._sock
        ours, theirs = socketpair()
        try:
            told = capture("Template")
            told.update(socket=theirs.fileno(), lifeline=lifeline.open(), client=os.getpid())
            self._comm = told["comm"] = f"pp-template-{next(_numbers) % 1000}"
            told["preload"] = [name for name in self._preload if name != "__main__"]
            main = describe_main() if "__main__" in self._preload else None
            if main is not None:
                told["preload_main"] = main
            self._environ = environ().copy()
            pid = start_program(told, "forkserver_main", [theirs.fileno(), lifeline.read_fd])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        log.debug("template started, pid %d", pid)
        self._sock, self._forkserver_pid, self._report = ours, pid, None
        return ours

    def _drop(self) -> None:
        """Let go of a template that has ended, or shall, and of the child that waits."""
        sock, ordered = self._sock, self._ordered
        if sock is not None and ordered is not None:
            try:
                self._collect(sock).give_up()
            except (EOFError, OSError):
                ordered.close()
        if sock is not None:
            sock.close()
        if self._forkserver_pid is not None:
            try:
                os.waitpid(self._forkserver_pid, 0)
            except ChildProcessError:
                pass
            _reap_unborn(self._comm)
        self._forget()

    def _forget(self) -> None:
        self._sock = self._forkserver_pid = self._report = self._ordered = None

    def _stop(self) -> None:
        """End the template and wait for it."""
        with self._lock:
            self._drop()

    def reborn(self) -> None:
        """Let go, in a forked child, of the parent's template: its children would be the parent's."""
        self._lock = threading.Lock()
        for sock in (self._sock, self._ordered):
            if sock is not None:
                sock.close()
        self._forget()
        self._starts = 0

    # -- a start ---------------------------------------------------------------------------------------------------

    def start(self, told: dict[str, Any], fds: list[int]) -> Forked:
        """Give a child its job and `fds`.

        Raises:
            OSError: what fork said in the template; or no template could be started.
        """
        with self._lock:
            for _ in range(_TRIES):
                try:
                    forked = self._take()
                except (EOFError, ConnectionError):
                    log.info("the template (pid %s) died: starting another", self._forkserver_pid)
                    self._drop()
                    continue
                try:
                    protocol.send_job(forked.channel, self._complete(told), fds)
                except ConnectionError:
                    forked.give_up()  # it was killed while it waited: it had not got the job
                    continue
                except BaseException:
                    forked.give_up()
                    raise
                forked.channel.close()
                self._starts += 1
                self._order_next()
                return forked
        raise OSError(f"the fork server's template died {_TRIES} times in a row before it could fork")

    def _take(self) -> Forked:
        """Return a child that waits for a job."""
        if self._sock is not None and self._ordered is not None:
            return self._collect(self._sock)
        sock = self._ensure_running()
        self._read_report(sock)
        self._order(sock)
        return self._collect(sock)

    def _order(self, sock: protocol.Socket) -> None:
        ours, theirs = socketpair()
        try:
            protocol.send(sock, 1, [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._ordered = ours

    def _order_next(self) -> None:
        """Have one child more made, to wait for the next start, while the one that was started gets going.

        A program that starts only one has no use for it.
        """
        if self._starts > 1 and self._sock is not None:
            try:
                self._order(self._sock)
            except OSError:  # no descriptor left, or the template is gone: the next start will see
                pass

    def _collect(self, sock: protocol.Socket) -> Forked:
        """Receive what was ordered."""
        ordered, self._ordered = self._ordered, None
        assert ordered is not None  # the caller has ordered
        try:
            (pid, number, text, sent), received = protocol.receive(sock)
        except BaseException:
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

    def _complete(self, told: dict[str, Any]) -> dict[str, Any]:
        """Add to a job what this template's children do not have: our main module, our environment of now."""
        has_main = self._report is not None and self._report[1]
        if not has_main and (main := describe_main()) is not None:
            told["main"] = main
        if environ() != self._environ:
            told["environ"] = environ().copy()
        return told

    def _read_report(self, sock: protocol.Socket) -> tuple[list[tuple[str, str]], bool]:
        if self._report is None:
            self._report, _ = protocol.receive(sock)
            for name, text in self._report[0]:
                if self._on_error == "fail":
                    self._drop()
                    raise ImportError(f"the fork server could not preload {name!r}", name=name) from None
                if self._on_error == "warn":
                    warnings.warn(f"the fork server could not preload {name!r}:\n{text}", RuntimeWarning, stacklevel=7)
        return self._report


def socketpair() -> tuple[protocol.Socket, protocol.Socket]:
    """Return two connected sockets that carry whole messages."""
    pair = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    for sock in pair:
        sock.settimeout(None)  # whatever socket.setdefaulttimeout says
    return pair


def _kill_unheard(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:  # it is the template's child, which reaps it
        pass


def _reap_unborn(comm: str) -> None:
    """Reap a child that a template made for us and died before it could tell.

    It bears its template's name until it has a job, and leaves as soon as it sees that it will not get one.
    """
    deadline = time.monotonic() + _UNBORN_GRACE
    for pid in children_of(os.getpid()):
        while _comm_of(pid) == comm and time.monotonic() < deadline:
            try:
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    break
            except ChildProcessError:  # reaped by somebody else
                break
            time.sleep(0.001)


def _comm_of(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().rstrip("\n")
    except OSError:
        return None


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


forkserver = ForkServer()
os.register_at_fork(after_in_child=forkserver.reborn)


class WaitingChild(ChildHandle):
    """A child that was there before its job, which is sent to it with the descriptors that it gets."""

    def __init__(self, process_obj: BaseProcess[Any]) -> None:
        self._fds: list[int] = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Pass `fd` to the child; return its place among all that are passed."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def DupFd(self, fd: int) -> SentFd:
        """Return what to pickle for a descriptor that is passed, by its place."""
        return SentFd(fd)

    def _launch(self, process_obj: BaseProcess[Any]) -> None:
        pickled, payload = pack(process_obj, self)
        told = capture_extras(capture(process_obj.name))
        told.update(start_method=self.method, pickled=pickled, payload=payload)
        if (fds := tracker_fds()) is not None:
            told.update(tracker=[self.duplicate_for_child(fd) for fd in fds], tracker_is_sent=True)
        self._send(told, process_obj.daemon)
        self._fds.clear()

    def _send(self, told: dict[str, Any], daemon: bool) -> None:
        raise NotImplementedError


class Popen(WaitingChild):
    """A child made by a template."""

    method = "forkserver"

    def _send(self, told: dict[str, Any], daemon: bool) -> None:
        told["hang_on"] = daemon
        self._make_room()
        forked = forkserver.start(told, [self._box.fd, *self._fds])
        self.pid, self.sentinel, self._status_fd = forked.pid, forked.pidfd, forked.status_fd


def cleanup_tests() -> None:
    """Stop what a test suite may have left running, and run all finalizers. CPython's harness calls it."""
    forkserver._stop()
    run_finalizers()
    gc.collect()
