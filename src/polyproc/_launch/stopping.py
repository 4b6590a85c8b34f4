"""Ending a child that may not listen: step by step, with its whole tree at the last step."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from polyproc._platform.handles import open_pidfd
from polyproc._platform.posix import close_quietly

if TYPE_CHECKING:
    from polyproc._launch.popen import Popen

# How long a daemon child has, at its parent's exit, between SIGTERM and SIGKILL.
EXIT_GRACE = 5.0


def stop(child: Popen, grace: float) -> int:
    """SIGINT, SIGTERM, then SIGKILL to the tree, `grace` seconds in all; return the exit code."""
    deadline = time.monotonic() + max(grace, 0.0)
    for signum in (signal.SIGINT, signal.SIGTERM):
        if child.poll() is None:
            child.signal(signum)
            child.signal(signal.SIGCONT)  # a stopped process does not see what is sent to it
            left = deadline - time.monotonic()
            child.wait(max(left / 2 if signum == signal.SIGINT else left, 0.0))
    if child.poll() is None:
        kill_tree(child.pid)
    code = child.wait()
    assert code is not None  # SIGKILL ends every process
    return code


def finish(child: Popen) -> None:
    """Wait for a daemon child that was told to end; kill it if it does not."""
    child.signal(signal.SIGCONT)
    if child.wait(EXIT_GRACE) is None:
        child.kill()


def kill_tree(root: int) -> None:
    """Kill a process and its descendants: freeze each, look for its children, until no new one is found; kill all.

    Who has left the tree on purpose (a double fork) is not found. Signals go by pidfd, so that none reaches a
    process that got the number of one that has ended.
    """
    frozen: dict[int, int] = {}
    queue = [root]
    while queue:
        pid = queue.pop()
        if pid in frozen:
            continue
        fd = open_pidfd(pid)
        if fd < 0:
            continue
        frozen[pid] = fd
        _send(fd, signal.SIGSTOP)
        queue += children_of(pid)
    for fd in frozen.values():
        _send(fd, signal.SIGKILL)
    close_quietly(*frozen.values())
    if root not in frozen:
        os.kill(root, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    """Return the children of a process, as /proc tells them; none where it does not."""
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:  # it has ended, or there is no such file here
        pass
    return found


def _send(pidfd: int, signum: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        pass
