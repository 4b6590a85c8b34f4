"""The process that started this one, as an object; and the lifeline by which children end with it."""

from __future__ import annotations

import _thread
import os

from polyproc._base.kernel import read
from polyproc._base.modules import load, loaded, public
from polyproc._base.process_state import process_state
from polyproc._base.typing import Any
from polyproc._platform.handles import ended_sentinel, open_pidfd, ready
from polyproc._platform.posix import PROC, LongLived, close_quietly
from polyproc._process.process import BaseProcess

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from typing import Any


# The lifeline: a pipe whose write end only this process holds, so that its end tells children that we are gone.
#
# A daemon child (a pool worker, a fork server) opens the read end anew and asks the kernel to send it SIGKILL when the
# state of the pipe changes: F_SETOWN, F_SETSIG and O_ASYNC of fcntl(2). When the last writer is gone, the kernel kills
# the child in whatever it does, also in C code that never comes back to Python, without a thread or a poll.
#
# PR_SET_PDEATHSIG would do the same only for children started from the main thread: it fires when the *thread* that
# forked ends.
#
# The read end is opened anew through /proc/self/fd since owner and signal belong to the open file, not to the
# descriptor: each child needs its own. Nobody ever writes to the pipe. A forked child closes the write end at once.

_F_SETSIG, _F_GETSIG = 10, 11  # Linux, <fcntl.h>; the fcntl module does not name them before 3.15
_SIGKILL = 9


class Lifeline:
    """The lifeline that this process holds for its children. One instance, `lifeline`."""

    def __init__(self) -> None:
        self._read = LongLived()
        self._write = LongLived()
        self._inherited = LongLived()
        self._armed = -1  # known by its signal, which nobody else sets: a new child takes the cheaper way
        self._lock = _thread.allocate_lock()

    def open(self) -> int:
        """Return the read end, made on the first call; anew, if a program has closed it.

        Raises OSError when there is no descriptor left.
        """
        with self._lock:
            if not self._write.is_there():
                self._read.close()
                for end, fd in zip((self._read, self._write), os.pipe(), strict=True):
                    end.take(fd)
                self._reset_in_forks()
                if loaded("polyproc._core") is None:
                    import fcntl  # noqa: F401  (each child would load it: 160 page faults)
            elif not self._read.is_there():  # the other end stays: children hang on to it
                self._read.take(os.open(f"{PROC}/self/fd/{self._write.fd}", os.O_RDONLY | os.O_CLOEXEC))
        return self._read.fd

    def take_inherited(self) -> int:
        """In a forked child: return the read end of its parent's, which is the caller's to close; -1 for none."""
        fd = self._inherited.fd if self._inherited.is_there() else -1
        self._inherited.forget()
        return fd

    def _reset_in_forks(self) -> None:
        """Register `after_fork_in_child`, once there is something to close: each forked child pays for it."""
        if process_state.lifeline is None:
            process_state.lifeline = self
            os.register_at_fork(after_in_child=self.after_fork_in_child)

    def after_fork_in_child(self) -> None:
        """Close, in a forked child, the parent's write end; its read end becomes the inherited one."""
        if self._armed >= 0:
            self._disarm()
        if self._write.fd >= 0 or self._read.fd >= 0 or self._inherited.fd >= 0:
            self._write.close()
            self._inherited.close()
            self._inherited, self._read = self._read, self._inherited
        if self._lock.locked():  # another thread of the parent held it
            self._lock = _thread.allocate_lock()

    def hang_on_to_parent(self, wanted: bool, is_sentinel: bool) -> int | None:
        """In a forked child: die with the parent, if wanted; and let go of what was inherited.

        Returns:
            A duplicate of it, if that is what tells of the parent's end.
        """
        duplicate = os.dup(self._inherited.fd) if is_sentinel else None
        if wanted:
            hang_on(self.take_inherited())
        else:
            self._inherited.close()
        return duplicate

    def arm(self, fd: int) -> None:
        """Keep what kills this process with its parent."""
        self._armed = fd
        self._reset_in_forks()

    def _disarm(self) -> None:
        fd, self._armed = self._armed, -1
        core: Any = loaded("polyproc._core")
        (_let_go if core is None else core.let_go)(fd)


lifeline = Lifeline()


def hang_on(fd: int) -> None:
    """Die by SIGKILL as soon as the process that holds the write end of `fd` is gone; `fd` is closed.

    Ends this process at once if that has happened already.
    """
    try:
        core: Any = loaded("polyproc._core")
        own = (_hang_on if core is None else core.hang_on)(fd)
    except OSError:  # no /proc, or no F_SETSIG: a thread waits instead
        from polyproc._platform.handles import own_module

        own_thread: Any = own_module("_thread")
        own_thread.start_new_thread(_watch, (fd,))  # and no greenlet, which would wait for its turn
        return
    if own == 0:
        os._exit(1)
    os.close(fd)
    lifeline.arm(own)


def _hang_on(fd: int) -> int:
    """Do it without the core; return the descriptor that is to stay open, 0 if the process is gone."""
    import fcntl

    own = os.open(f"{PROC}/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(own, _F_SETSIG, _SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    try:
        return own if read(own, 1) else 0
    except BlockingIOError:
        return own


def _let_go(fd: int) -> None:
    try:
        if load("fcntl", "fcntl")(fd, _F_GETSIG) == _SIGKILL:  # type: ignore[operator]
            os.close(fd)
    except OSError:  # this program has closed it
        pass


def _watch(fd: int) -> None:
    while read(fd, 1):
        pass
    os.kill(os.getpid(), _SIGKILL)


@public("process")
class ParentProcess(BaseProcess[object]):
    """The process that started this one: it can be watched and waited for, not signalled."""

    def __init__(self, name: str, pid: int, sentinel: int | None) -> None:
        self._identity = ()
        self._name = name
        self._pid = pid
        self._parent_pid = None
        self._popen = None
        self._closed = False
        self._config = {}
        self._watched = sentinel

    def is_alive(self) -> bool:
        """Return whether the parent runs."""
        return not self._ready(0)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the parent has ended, at most `timeout` seconds."""
        self._ready(timeout)

    def _ready(self, timeout: float | None) -> bool:
        return bool(ready([self.sentinel], timeout))

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the parent has ended."""
        if self._watched is None:
            # A pidfd of our parent, as long as it is our parent: else its number may be another's by now.
            fd = open_pidfd(self._pid)
            if os.getppid() != self._pid:
                close_quietly(fd)
                fd = ended_sentinel()
            elif fd < 0:  # a program forked by itself, and where there are no pidfds it has no lifeline
                raise NotImplementedError("this system does not tell of the end of this process's parent")
            self._watched = fd
        return self._watched

    @property
    def ident(self) -> int | None:
        """The process id."""
        return self._pid

    pid = ident


def parent_process() -> ParentProcess | None:
    """Return the object of the parent, None in a main process."""
    if process_state.parent is None and process_state.parent_facts is not None:
        process_state.parent = ParentProcess(*process_state.parent_facts)
    parent: ParentProcess | None = process_state.parent
    return parent
