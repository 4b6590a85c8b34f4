"""The identity of this host: what processes have in common that can reach each other's memory."""

from __future__ import annotations

import os
from pathlib import Path

from polyproc._base.typing import Any, Self, Sequence
from polyproc._pickling.sending import LiveFd
from polyproc._platform.posix import anonymous_file, close_quietly

_NAMESPACES = ("net", "pid", "user")  # a process with another of these is on another host, as far as memory goes


def boot_id() -> str:
    """Return what names this run of this host; "" where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def this_host() -> str:
    """Return what processes have in common that can reach each other's memory; "" where nothing tells."""
    boot = boot_id()
    try:
        spaces = [str(os.stat(f"/proc/self/ns/{name}").st_ino) for name in _NAMESPACES]
    except OSError:
        return ""
    return " ".join((boot, str(os.getuid()), *spaces)) if boot else ""


class Probe:
    """An empty file of this process: a process that can open it is on this host, and may have what is in memory here.

    Attributes:
        place: what that one is told; None where it cannot be.
    """

    place: tuple[str, int, int, int] | None = None

    def __init__(self) -> None:
        self._fd = -1

    def __enter__(self) -> Self:
        here = this_host()
        if here:
            try:
                self._fd = anonymous_file("polyproc-probe")
            except OSError:  # no descriptors: it goes without
                return self
            self.place = here, os.getpid(), self._fd, os.fstat(self._fd).st_ino
        return self

    def __exit__(self, *exc: object) -> None:
        close_quietly(self._fd)


def reaches(place: Sequence[Any] | None) -> bool:
    """Return whether this process can open another's probe."""
    if place is None or place[0] != this_host():
        return False
    _, process, number, inode = place
    try:
        os.close(LiveFd(process, number, inode, os.O_RDONLY).detach())
    except (OSError, RuntimeError):
        return False
    return True
