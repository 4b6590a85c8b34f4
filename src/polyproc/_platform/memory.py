"""How much memory this process has."""

from __future__ import annotations

import os

from polyproc._base.modules import load
from polyproc._base.typing import Any
from polyproc._platform.posix import CGROUPS, IS_MACOS, PROC


def resident_bytes() -> int:
    """Return the resident size of this process, in bytes; where nothing tells it, the largest that it had."""
    try:
        with open(f"{PROC}/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        from polyproc._platform.processes import resident_bytes

        by_ps: Any = resident_bytes
        usage: Any = load("resource", "getrusage")
        return int(by_ps(os.getpid())) or int(usage(0).ru_maxrss) * (1 if IS_MACOS else 1024)


# How many processes the kernel has killed for lack of memory: of our control group, or of the system.
#
# The kernel does not tell which process it killed, only how many: `oom_kill` in memory.events (cgroups(7), version
# 2),
# memory.oom_control (version 1) and /proc/vmstat. It counts before it kills.


class Kills:
    """The count, as far as deaths were explained by it. One instance, `kills`."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._explained = -1  # -1: not looked at yet

    def begin(self) -> None:
        """Count from now on, unless that was done."""
        if self._explained < 0:
            self._path = next((path for path in _paths() if _read(path) is not None), None)
            self._explained = self._count()

    def explain_one(self) -> bool:
        """Return whether there was a kill that explains the death of a process, and that of no other yet."""
        if self._count() <= self._explained:
            return False
        self._explained += 1
        return True

    def _count(self) -> int:
        return (0 if self._path is None else _read(self._path)) or 0


def _paths() -> list[str]:
    """Return where the count may stand, the nearest group first."""
    root = CGROUPS
    paths = []
    try:
        with open(f"{PROC}/self/cgroup") as file:
            for line in file:
                _, controllers, group = line.rstrip("\n").split(":", 2)
                if not controllers:
                    paths += [f"{root}{group}/memory.events", f"{root}/unified{group}/memory.events"]
                elif "memory" in controllers.split(","):
                    paths.append(f"{root}/{controllers}{group}/memory.oom_control")
    except (OSError, ValueError):  # no /proc, or not as we know it
        pass
    # In a container our group is the root of what we see.
    return [*paths, f"{root}/memory.events", f"{root}/memory/memory.oom_control", f"{PROC}/vmstat"]


def _read(path: str) -> int | None:
    try:
        with open(path) as file:
            words = file.read().split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):  # not there, or not in it
        return None


kills = Kills()
