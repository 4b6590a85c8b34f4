"""Ending a child that may not listen: step by step, with its whole tree at the end."""

from __future__ import annotations

import _signal as signal  # `signal` makes enumerations of it
import os
import time

from polyproc._base.modules import said
from polyproc._base.typing import TYPE_CHECKING, Any, Self
from polyproc._platform.handles import has_pidfds, is_start, open_pidfd, send_signal, started_at
from polyproc._platform.posix import LINUX, PROC, close_quietly

if TYPE_CHECKING:
    from polyproc.abc import ChildHandle

_SIGKILL = 9
_SIGCONT, _SIGSTOP = (int(getattr(signal, name, 0)) for name in ("SIGCONT", "SIGSTOP"))  # 0 where there is none

# How long a daemon child has, at its parent's exit, between SIGTERM and SIGKILL.
EXIT_GRACE = 5.0


def stop(child: ChildHandle, grace: float) -> int:
    """SIGINT, SIGTERM, then SIGKILL, `grace` seconds in all, and SIGKILL to what is left of its tree; return the code.

    The tree is looked at before each signal: when the child itself has ended, nothing tells any more whose its
    descendants were.
    """
    if type(grace) is not float:
        said("seconds", grace, "grace")
    deadline = time.monotonic() + max(grace, 0.0)
    with tree_of(child) as tree:
        for signum in (signal.SIGINT, signal.SIGTERM):
            if child.poll() is None:
                tree.look()
                child.signal(signum)
                left = deadline - time.monotonic()
                child.wait(max(left / 2 if signum == signal.SIGINT else left, 0.0))
        tree.kill()
    if child.poll() is None:
        child.kill()  # where nothing tells of a tree
    code = child.wait()
    assert code is not None  # SIGKILL ends every process
    return code


def finish(child: ChildHandle) -> None:
    """Wait for a daemon child that was told to end; kill it if it does not."""
    child.signal(_SIGCONT)
    if child.wait(EXIT_GRACE) is None:
        child.kill()


def tree_of(child: Any) -> Tree:
    """Return a child and its descendants, wherever they are: a child on another host knows of its own."""
    tree: Tree = child.tree() if hasattr(child, "tree") else Tree(child.pid)
    return tree


class Tree:
    """A process and its descendants, each held by a pidfd: no signal reaches a process that got an old number.

    Where there are no pidfds they are held by when they started. A process that has left the tree on purpose (a double
    fork) is not found.
    """

    def __init__(self, root: int) -> None:
        self._held: dict[int, tuple[int, str]] = {}  # pid -> its pidfd and "", or -1 and when it started
        self._hold(root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        close_quietly(*(fd for fd, _ in self._held.values()))
        self._held.clear()

    def look(self) -> None:
        """Remember the processes that are there now."""
        queue = list(self._held)
        while queue:
            queue += self._hold_children(queue.pop())

    def kill(self) -> None:
        """Kill all: freeze each, so that it starts no other, look for its children, until no new one is found."""
        queue = list(self._held)
        while queue:
            pid = queue.pop()
            if self._send(pid, _SIGSTOP):
                queue += self._hold_children(pid)
        for pid in self._held:
            self._send(pid, _SIGKILL)

    def _hold_children(self, parent: int) -> list[int]:
        """Hold the children of a process that is held; return those that are new.

        A number is believed when both its process and its parent are still there once it is held: a process that has
        ended may have left its number to another.
        """
        new = [pid for pid in children_of(parent) if self._hold(pid)]
        there = children_of(parent) if new and self._send(parent, 0) else []
        for pid in new:
            if pid not in there:
                close_quietly(self._held.pop(pid)[0])
        return [pid for pid in new if pid in there]

    def _hold(self, pid: int) -> bool:
        """Open a process; return whether it is a new one."""
        if pid in self._held:
            return False
        fd = open_pidfd(pid)
        start = "" if fd >= 0 or has_pidfds() else started_at(pid)
        if fd >= 0 or start:
            self._held[pid] = fd, start
        return pid in self._held

    def _send(self, pid: int, signum: int) -> bool:
        """Send a signal; return whether the process was there, if only as a zombie."""
        fd, start = self._held[pid]
        try:
            if fd < 0 and not is_start(started_at(pid), start):
                return False
            send_signal(fd, pid, signum)
        except ProcessLookupError:
            return False
        return True


def children_of(pid: int) -> list[int]:
    """Return the children of a process, as the system tells them; none where it does not."""
    if not LINUX:
        from polyproc._platform.processes import table

        return [child for child, row in table().items() if row.parent == pid]
    found = []
    try:
        for task in os.listdir(f"{PROC}/{pid}/task"):
            with open(f"{PROC}/{pid}/task/{task}/children", encoding="utf-8") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:  # it has ended, or there is no such file here
        pass
    return found
