"""wait(): which of many objects is ready."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from polyproc._platform.handles import ready


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Wait until at least one of the objects is ready, up to `timeout` seconds; return those that are.

    An object is a descriptor or has a `fileno` method: a connection, a socket, a process's sentinel. One of which the
    other end is closed is ready. The number of objects and of descriptors has no limit but the system's own.
    """
    by_fd: dict[int, list[Any]] = {}
    for obj in object_list:
        by_fd.setdefault(_fileno(obj), []).append(obj)
    found = ready(list(by_fd), timeout)
    return [obj for fd in found for obj in by_fd[fd]]


def _fileno(obj: Any) -> int:
    fd = obj if isinstance(obj, int) else obj.fileno()
    if not isinstance(fd, int) or fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd
