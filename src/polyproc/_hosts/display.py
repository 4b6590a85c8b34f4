"""What children on other hosts write, shown by a thread of its own: a stream that takes nothing holds up no report.

The thread that hears of output hands it over and goes on. It is told when that was shown, so that no more comes than
there is room for: a child whose output nobody reads waits in the end, as one whose pipe is full (agent.py: AHEAD).
"""

from __future__ import annotations

import collections
import sys
import threading
import time

from polyproc._base.process_state import log
from polyproc._base.typing import Any, Callable, Iterator
from polyproc._platform.handles import PIPE_BUF, POLLOUT, ready

_LOOK = 0.1  # seconds between two looks whether what a stream does not take is still to be shown
_PATIENCE, _LONGEST = 1.0, 5.0  # seconds that a report waits for what was written before it: without progress, in all


class Display:
    """The streams of this process, as children of one context write to them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pieces: collections.deque[tuple[int, str, Callable[[], object]]] = collections.deque()
        self._handed = self._shown = 0
        self._is_behind = False
        self._has_ended = False
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start the thread, if that is not done. Raises RuntimeError if there cannot be another."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="polyproc-display", daemon=True)
            thread.start()
            self._thread = thread

    def show(self, number: int, text: str, when_shown: Callable[[], object]) -> None:
        """Show a text by stream 1 or 2; then call `when_shown`."""
        with self._changed:
            if self._has_ended:
                return
            self._pieces.append((number, text, when_shown))
            self._handed += 1
            self._changed.notify_all()

    def settle(self) -> None:
        """Wait until what was handed over is shown, but not for long: whoever reads it may be slow, or read nothing."""
        with self._changed:
            aim, seen = self._handed, self._shown
            last = time.monotonic() + _LONGEST
            until = time.monotonic() + _PATIENCE
            while self._shown < aim and not self._is_behind:
                if self._shown > seen:
                    seen, until = self._shown, time.monotonic() + _PATIENCE
                left = min(until, last) - time.monotonic()
                if left <= 0:
                    self._is_behind = True  # until all is shown nobody waits for it again
                    return
                self._changed.wait(left)

    def end(self) -> None:
        """Show what is left, if it can be shown, and nothing more."""
        self.settle()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._pieces and not self._has_ended:
                    self._changed.wait()
                if self._has_ended:
                    return
                number, text, when_shown = self._pieces.popleft()
            self._write(sys.stdout if number == 1 else sys.stderr, text)
            when_shown()
            with self._changed:
                self._shown += 1
                if self._shown == self._handed:
                    self._is_behind = False
                self._changed.notify_all()

    def _write(self, stream: Any, text: str) -> None:
        try:
            fd = _descriptor_of(stream)
            for part in (text,) if fd is None else _parts_of(text):
                # In a call that waits it would keep the stream locked, also at the end of the interpreter.
                while fd is not None and not ready([fd], _LOOK, POLLOUT):
                    if self._has_ended:
                        return
                stream.write(part)
                stream.flush()
        except Exception as error:  # noqa: BLE001  (none, or a closed one, or one of the user's: there is nobody to show it to)
            log.info("what a child has written cannot be shown: %r", error)


def _descriptor_of(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except Exception:  # noqa: BLE001  (it has none; it may be of any class)
        return None


def _parts_of(text: str) -> Iterator[str]:
    """Cut a text into parts that a pipe takes at once if it takes anything: at ends of lines, where there are some."""
    most = PIPE_BUF if text.isascii() else PIPE_BUF // 4
    start = 0
    while start < len(text):
        end = start + most
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield text[start:end]
        start = end
