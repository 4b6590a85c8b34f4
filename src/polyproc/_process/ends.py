"""Where there are no pidfds (an old kernel, a container's filter): pipes that end with a process.

A child's sentinel is then the read end of a pipe whose write end the child alone holds: it ends when the child does,
whatever way that happens. And the read end of its parent's lifeline is what tells a child of its parent's end.

    fork:   begin -> fork; the hook in the child keeps its own and lets go of all others -> finish in the parent
    spawn:  begin -> the write end is passed -> finish in the parent; `hold` in the child

A program that the child starts does not get it, and a process that forks lets go of it. Only a process that C code
forks by itself, and that outlives the child, keeps it.
"""

from __future__ import annotations

import os
from _thread import get_ident

from polyproc._platform.posix import close_quietly


class Ends:
    """The write ends that this process holds. One instance, `ends`."""

    def __init__(self) -> None:
        self._unborn: dict[int, int] = {}  # thread -> the write end of the child that it is about to make
        self._own = -1
        self._resets = False

    def begin(self) -> int:
        """Make the pipe of the next child of this thread; return the read end. Raises OSError without descriptors."""
        self._reset_in_forks()
        read_fd, self._unborn[get_ident()] = os.pipe()
        return read_fd

    def passed(self) -> int:
        """Return the write end, to be passed to the child."""
        return self._unborn[get_ident()]

    def finish(self) -> None:
        """In the parent: the child has its end, or could not be made."""
        close_quietly(self._unborn.pop(get_ident(), -1))

    def hold(self, fd: int, parent: int, is_shared: bool) -> int:
        """In a started program: keep the write end; return what tells of the parent's end, a copy if it is shared."""
        os.set_inheritable(fd, False)
        self._own = fd
        self._reset_in_forks()
        if is_shared:
            return os.dup(parent)
        os.set_inheritable(parent, False)
        return parent

    def _reset_in_forks(self) -> None:
        if not self._resets:
            self._resets = True
            os.register_at_fork(after_in_child=self.after_fork_in_child)

    def after_fork_in_child(self) -> None:
        """Close, in a forked child, all ends but its own."""
        own = self._unborn.pop(get_ident(), -1)
        close_quietly(self._own, *self._unborn.values())
        self._unborn = {}
        self._own = own


ends = Ends()
