"""Children that a program has started and forgotten: reaped while it does something else.

A start reaps those that have ended before it, as in the standard library; a program that starts no more would keep the
last ones as zombies, each with a descriptor. So a program that forgets many gets a thread that waits for their ends,
and ends with the last.
"""

from __future__ import annotations

import os
import sys
import threading

from polyproc._base.process_state import process_state
from polyproc._platform.handles import pause, ready
from polyproc._process.process import BaseProcess
from polyproc._start.child import Child

TYPE_CHECKING = False  # see child.py
if TYPE_CHECKING:
    from typing import Any

_TICK = 0.2


def _counted(objects: set[Any]) -> list[tuple[int, Any]]:
    """Return them, each with how many references there are to it, those of the set and of this function among them."""
    counted = []
    for one in list(objects):
        counted.append((sys.getrefcount(one), one))
    return counted


# How many that finds of an object to which nothing but the set refers: fewer from 3.14 on, where a call borrows.
[(_REFERENCES, _)] = _counted({object()})


class Reaper:
    """Whether the thread is there. One instance, `reaper`."""

    def __init__(self) -> None:
        self._pid = 0
        self._lock = threading.Lock()
        self._is_running = False

    def look(self, started: BaseProcess[Any]) -> None:
        """Start the thread if there is something for it to do; `started` is the newest child."""
        if self._pid != os.getpid():
            self._pid, self._lock, self._is_running = os.getpid(), threading.Lock(), False
        with self._lock:
            if not self._is_running and _forgotten(started):
                threading.Thread(target=self._reap, name="polyproc-reaper", daemon=True).start()
                self._is_running = True

    def _reap(self) -> None:
        while True:
            sentinels = [child._sentinel for child in _forgotten()]
            if sentinels:
                ready(sentinels, _TICK)  # then look anew: there may be more
                ended = [child for child in _forgotten() if child._popen.poll() is not None]
                process_state.children.difference_update(ended)
                del ended
            elif self._may_end():
                return

    def _may_end(self) -> bool:
        """Return whether nothing was forgotten for a while; others that look at children refer to them."""
        pause(_TICK)
        with self._lock:
            self._is_running = bool(_forgotten())
            return not self._is_running


def _forgotten(started: object = None) -> list[Any]:
    """Return the children that nobody else refers to, but for the one that is being started.

    Those of another's launcher are not ours to poll: it need not stand that two threads do so at once.
    """
    found = [child for count, child in _counted(process_state.children) if count <= _REFERENCES]
    return [child for child in found if child is not started and isinstance(child._popen, Child)]


reaper = Reaper()
