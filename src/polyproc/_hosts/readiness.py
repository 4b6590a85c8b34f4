"""A descriptor that is readable while there is something to receive by what has none: `wait` and selectors want one."""

from __future__ import annotations

import os
import threading

from polyproc._base.typing import Any, Callable
from polyproc._platform.handles import WakePipe, ready

_SLICE = 0.25  # seconds between two looks whether anybody wants to know


class Readiness:
    """Has a thread wait for the next message, and makes a descriptor readable when it is there.

    What others receive who hold the same end may leave it readable, as a queue's descriptor.
    """

    def __init__(self, poll: Callable[[float], Any]) -> None:
        self.pid = os.getpid()
        self._poll = poll
        self._pipe = WakePipe()
        self.fd = self._pipe.fd
        self._lock = threading.Lock()
        self._received = 0  # messages, here: what was seen before one was received is seen no more
        self._look = threading.Event()
        self._look.set()
        self._has_ended = False
        threading.Thread(target=self._run, name="polyproc-readiness", daemon=True).start()

    def _run(self) -> None:
        try:
            while not self._has_ended:
                self._look.wait()
                received = self._received
                try:
                    there = self._poll(_SLICE)
                except (OSError, EOFError):  # the server has gone: to receive says so
                    there = True
                with self._lock:
                    if there and received == self._received:
                        self._look.clear()
                        self._pipe.wake()
        finally:
            self._pipe.close()

    def note_received(self) -> None:
        """Note that a message was received: whether there is another has to be seen."""
        with self._lock:
            self._received += 1
            if not self._has_ended and ready([self.fd], 0):
                self._pipe.drain()
        self._look.set()

    def close(self) -> None:
        """End the thread, which gives the descriptor back."""
        self._has_ended = True
        with self._lock:
            self._received += 1
        self._look.set()
