"""The lifeline: a pipe whose write end only this process holds, so that its end tells children that we are gone.

A daemon child (a pool worker, a template) opens the read end anew and asks the kernel to send it SIGKILL when the
state of the pipe changes: F_SETOWN, F_SETSIG and O_ASYNC of fcntl(2). When the last writer is gone, the kernel
kills the child in whatever it does, also in C code that never comes back to Python, without a thread or a poll.

PR_SET_PDEATHSIG would do the same only for children started from the main thread: it fires when the *thread* that
forked ends.

The read end is opened anew through /proc/self/fd since owner and signal belong to the open file, not to the
descriptor: each child needs its own. Nobody ever writes to the pipe. A forked child closes the write end at once.
"""

from __future__ import annotations

import _thread
import fcntl
import os

from polyproc._platform.posix import close_quietly

_F_SETSIG = 10  # Linux, <fcntl.h>; the fcntl module does not name it before 3.15
_SIGKILL = 9


class Lifeline:
    """The lifeline that this process holds for its children. One instance, `lifeline`."""

    def __init__(self) -> None:
        self.read_fd = -1
        self.write_fd = -1
        self.inherited_fd = -1
        self.armed_fd = -1
        self._resets = False
        self._lock = _thread.allocate_lock()

    def open(self) -> int:
        """Return the read end, made on the first call. Raises OSError when there is no descriptor left."""
        with self._lock:
            if self.read_fd < 0:
                self.read_fd, self.write_fd = os.pipe()
                self._reset_in_forks()
        return self.read_fd

    def _reset_in_forks(self) -> None:
        """Have `reborn` called in forked children: only once there is something to let go of, as each pays for it."""
        if not self._resets:
            self._resets = True
            os.register_at_fork(after_in_child=self.reborn)

    def is_held(self) -> bool:
        """Say whether a forked child would inherit anything of it."""
        return self.read_fd >= 0 or self.armed_fd >= 0

    def reborn(self) -> None:
        """Let go, in a forked child, of the parent's write end; its read end becomes the inherited one."""
        if self.read_fd >= 0 or self.inherited_fd >= 0 or self.armed_fd >= 0:
            close_quietly(self.write_fd, self.inherited_fd, self.armed_fd)
            self.armed_fd = -1
            self.inherited_fd, self.read_fd, self.write_fd = self.read_fd, -1, -1
        if self._lock.locked():  # another thread of the parent held it
            self._lock = _thread.allocate_lock()

    def hang_on_to_parent(self, wanted: bool) -> None:
        """In a forked child: die with the parent, if wanted; and let go of what was inherited."""
        fd, self.inherited_fd = self.inherited_fd, -1
        if wanted:
            hang_on(fd)
        elif fd >= 0:
            os.close(fd)


lifeline = Lifeline()


def hang_on(fd: int) -> None:
    """Die by SIGKILL as soon as the process that holds the write end of `fd` is gone; `fd` is closed.

    Ends this process at once if that has happened already.
    """
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(own, _F_SETSIG, _SIGKILL)
        fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    except OSError:  # no /proc, or no F_SETSIG: a thread waits instead
        _thread.start_new_thread(_watch, (fd,))
        return
    os.close(fd)
    lifeline.armed_fd = own
    lifeline._reset_in_forks()
    try:
        gone = not os.read(own, 1)
    except BlockingIOError:
        gone = False
    if gone:
        os._exit(1)


def _watch(fd: int) -> None:
    while os.read(fd, 1):
        pass
    os.kill(os.getpid(), _SIGKILL)
