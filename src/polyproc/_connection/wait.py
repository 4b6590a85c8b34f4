"""wait(): which of many objects is ready."""

from __future__ import annotations

import math
import time

from polyproc._base.modules import said
from polyproc._base.typing import Any, Callable, Iterable
from polyproc._platform.handles import due, ready

# Events and results have no descriptor: they are looked at again and again, less and less often.
_FIRST_TICK = 0.0005
_LAST_TICK = 0.01


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Wait until at least one of the objects is ready, up to `timeout` seconds; return those that are, in their order.

    An object is one of

    - a descriptor, or what has a `fileno` method: a connection, a socket, a process's sentinel, a queue. One of which
      the other end is closed is ready; a queue is ready while there are items, or when it is shut down;
    - a process, which is ready when it has ended;
    - an event, ready when it is set; a pool's result or a future, ready when it is there.

    The number of objects and of descriptors has no limit but the system's own. Those of the last kind are looked at up
    to 100 times a second, all others are waited for.
    """
    objects = _listed(object_list)
    by_fd: dict[int, list[int]] = {}
    looked_at: list[tuple[int, Callable[[], bool]]] = []
    for index, obj in enumerate(objects):
        look = _look(obj)
        if look is None:
            by_fd.setdefault(_fileno(obj), []).append(index)
        else:
            looked_at.append((index, look))
    if not looked_at:
        found = [index for fd in ready(list(by_fd), timeout) for index in by_fd[fd]]
    else:
        found = _wait_and_look(by_fd, looked_at, timeout)
    return [objects[index] for index in sorted(found)]


def _listed(object_list: Iterable[Any]) -> list[Any]:
    if not hasattr(object_list, "put"):  # a queue can be gone through, too: that would never end
        try:
            return list(object_list)
        except TypeError:
            pass
    text = f"{type(object_list).__name__!r} object is not iterable: wait() takes a list of objects"
    raise TypeError(f"{text}; for one alone write wait([the_object])")


def _wait_and_look(
    by_fd: dict[int, list[int]], looked_at: list[tuple[int, Callable[[], bool]]], timeout: float | None
) -> list[int]:
    deadline = math.inf if timeout is None else due(timeout)
    tick = 0.0
    while True:
        found = [index for fd in ready(list(by_fd), tick) for index in by_fd[fd]]
        found += [index for index, look in looked_at if look()]
        left = deadline - time.monotonic()
        if found or left <= 0:
            return found
        tick = max(min(tick * 2, _LAST_TICK, left), min(_FIRST_TICK, left))


def _look(obj: Any) -> Callable[[], bool] | None:
    """Return what says whether an object without a descriptor is ready."""
    if isinstance(obj, int) or hasattr(obj, "fileno") or hasattr(obj, "sentinel"):
        return None
    for name in ("is_set", "ready", "done"):
        look: Callable[[], bool] | None = getattr(obj, name, None)
        if look is not None:
            return look
    return None


def _fileno(obj: Any) -> int:
    if isinstance(obj, int):
        fd = obj
    elif hasattr(obj, "fileno"):
        fd = obj.fileno()
    elif hasattr(obj, "sentinel"):
        fd = obj.sentinel
    else:
        raise ValueError(said("not_waitable", f"Invalid file object: {obj!r}"))
    if not isinstance(fd, int) or fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd
