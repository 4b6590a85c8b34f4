"""The program of a template: import, then fork on request. Started by `_launch/forkserver.py`; nobody imports it.

    ready report -> loop: receive an order -> clone or fork -> answer with the pidfd
                              child: wait for the job -> _entry/child_main.live

It has one thread. It ignores SIGINT, since a Ctrl-C is for those who run something. It ends when its client does:
its socket then reads the end, and if it is busy importing, the lifeline kills it.
"""

from __future__ import annotations

import _pickle  # noqa: F401  (what nearly every child needs)
import _signal
import _socket
import errno
import gc
import os
import select
from _frozen_importlib_external import PathFinder

from polyproc._entry.child_main import live
from polyproc._entry.rehearsal import rehearse
from polyproc._launch import forkserver_protocol as protocol
from polyproc._native import native
from polyproc._pickling.inherited import received
from polyproc._platform.handles import open_pidfd
from polyproc._platform.posix import close_quietly
from polyproc._process.bootstrap import after_fork, flush_streams
from polyproc._process.last_acts import format_exception
from polyproc._process.lifeline import hang_on
from polyproc._process.main_module import import_main
from polyproc._process.output import keep
from polyproc._process.preparation import apply

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any


class Template:
    """The state of the loop."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.sock = _socket.socket(fileno=job["socket"])
        self.sock.settimeout(None)
        self.lifeline_fd: int = job["lifeline"]
        self.client_pid: int = job["client"]
        self.client_pidfd = open_pidfd(self.client_pid)
        self.comm = _read_name()
        _rename(job["comm"])
        self.reported: dict[int, tuple[int, int]] = {}  # pidfd -> (pid, status pipe)

    def serve(self) -> dict[str, Any] | None:
        """Answer requests; return in a child, with its job, or in the template when the client is gone: None."""
        while True:
            if self.reported and not self._wait_for_request():
                continue
            try:
                count, fds = protocol.receive(self.sock)
            except (EOFError, ConnectionError):
                return None
            if len(fds) < count:
                close_quietly(*fds)
                self._refuse(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
                continue
            job = self._answer(fds)
            if job is not None:
                return job

    def _answer(self, fds: list[int]) -> dict[str, Any] | None:
        status_fds: tuple[int, int] = (-1, -1)
        try:
            if native.core is not None and native.core.clone_ready() == 0:
                pid, pidfd = native.core.clone_sibling()
            else:
                status_fds = os.pipe()
                pid = os.fork()
                pidfd = -1 if pid == 0 else open_pidfd(pid)
        except OSError as error:
            close_quietly(*fds, *status_fds)
            self._refuse(error)
            return None
        if pid == 0:
            return self._become_child(fds, status_fds)
        self._report_start(pid, pidfd, status_fds)
        close_quietly(*fds)
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
        poller = select.poll()
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
                    os.write(status_fd, code.to_bytes(8, "little", signed=True))
                except BrokenPipeError:
                    pass  # nobody waits for it any more
                close_quietly(status_fd, fd)
        return self.sock.fileno() in ready

    def _become_child(self, fds: list[int], status_fds: tuple[int, int]) -> dict[str, Any]:
        """Let go of what is the template's; wait for the job."""
        self.sock.close()
        close_quietly(*status_fds)
        for pidfd, (_, status_fd) in self.reported.items():
            close_quietly(pidfd, status_fd)
        after_fork()
        rehearse()
        channel = _socket.socket(fileno=fds[0])
        channel.settimeout(None)
        try:
            job, (box_fd, *received.fds) = protocol.receive_job(channel)
        except (EOFError, ConnectionError):
            os._exit(0)  # the client was killed, or has no more use for this child: it was never a process of anybody
        channel.close()
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)  # until now a Ctrl-C was not for it
        _rename(self.comm)
        job["box"] = box_fd
        if job["hang_on"]:
            job["lifeline"] = self.lifeline_fd
        else:
            os.close(self.lifeline_fd)
        if os.getppid() != self.client_pid:
            job["parent_sentinel"] = self.client_pidfd
        else:
            close_quietly(self.client_pidfd)
        return job


def _read_name() -> str:
    try:
        with open("/proc/self/comm") as file:
            return file.read().rstrip("\n")
    except OSError:  # no /proc
        return "python"


def _rename(name: str) -> None:
    """Set this process's name, as ps shows it. A template's child bears its template's name until it has a job: see
    _launch/template.py.
    """
    if native.core is not None:
        native.core.set_name(name)
        return
    try:
        with open("/proc/self/comm", "w") as file:
            file.write(name)
    except OSError:  # no /proc: nobody reads it there, either
        pass


def main(job: dict[str, Any]) -> None:
    """Serve; in a child, live its life. Never returns."""
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    template = Template(job)
    for fd in (job["socket"], job["lifeline"]):
        os.set_inheritable(fd, False)
    hang_on(os.dup(template.lifeline_fd))
    keep("stdout")
    keep("stderr")
    main_description = job.pop("preload_main", None)
    apply(job)
    report = _preload(job["preload"], main_description)
    PathFinder.find_spec("polyproc_looks_into_every_folder_once")  # each child would list them anew
    _stop_threads()
    flush_streams()
    gc.collect()
    gc.freeze()
    try:
        protocol.send(template.sock, report, [])
    except ConnectionError:
        os._exit(0)
    child = template.serve()
    if child is None:
        os._exit(0)
    if "environ" in child:
        os.environb.clear()
        os.environb.update(child.pop("environ"))
    live(child, child.get("parent_sentinel"))


def _preload(names: list[str], main_description: Any) -> tuple[list[tuple[str, str]], bool]:
    """Import; return what failed, and whether main is there."""
    failed = []
    has_main = False
    if main_description is not None:
        try:
            import_main(*main_description)
            has_main = True
        except BaseException:  # noqa: BLE001  (each child will import it, and fail with this error, where it is seen)
            pass
    for name in names:
        try:
            __import__(name)
        except BaseException as error:  # noqa: BLE001  (a module may raise anything, SystemExit too; the client hears of it)
            failed.append((name, format_exception(error)[-4000:]))
    return failed, has_main


def _stop_threads() -> None:
    """Have libraries that keep threads and handle fork (BLAS, OpenMP) stop them, by one fork that does nothing."""
    if native.core is not None and native.core.clone_ready() == errno.EBUSY:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
