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
from polyproc._process.process import BaseProcess, reap

TYPE_CHECKING = False  # see child.py
if TYPE_CHECKING:
    from typing import Any

_TICK = 0.2
# What refers to a process object that its program has forgotten: the family, a list and a loop here, and the call that
# asks; to one that is being started also its `start`, and `look`.
_REFERENCES = 4


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
            sentinels = _forgotten()
            if sentinels:
                ready(sentinels, _TICK)  # then look anew: there may be more
                reap()
            elif self._may_end():
                return

    def _may_end(self) -> bool:
        """Return whether nothing was forgotten for a while; others that look at children refer to them."""
        pause(_TICK)
        with self._lock:
            self._is_running = bool(_forgotten())
            return not self._is_running


def _forgotten(started: object = None) -> list[int]:
    """Return the sentinels of the children that nobody else refers to."""
    found = []
    for child in list(process_state.children):
        if sys.getrefcount(child) <= _REFERENCES + 2 * (child is started):
            found.append(child._sentinel)
    return found


reaper = Reaper()
