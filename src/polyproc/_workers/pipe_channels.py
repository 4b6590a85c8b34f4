"""Channels over pipes, one for each worker: nothing is shared between workers."""

from __future__ import annotations

import collections
import pickle
import time
from typing import Any

from polyproc._connection.connection import Connection
from polyproc._connection.pipe import Pipe
from polyproc._connection.wait import wait
from polyproc._pickling.pickler import dumps, dumps_through, dumps_to_keep
from polyproc._platform.handles import WakePipe

MAX_BEHIND: int = 1  # what is in a pipe cannot be taken back, and might have to run at once


def pack(message: Any) -> tuple[bytes, int]:
    """Pickle a message for a worker; return it, and its size."""
    data = dumps_to_keep(message)
    return data, len(data)


class WorkerEnd:
    """A worker's side."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self.connection = connection

    def get(self) -> tuple[int, bool, Any]:
        """Wait for a message of the pool; return its number, whether it could be opened, it or the error.

        When the pool has ended it is None.
        """
        try:
            data = self.connection.recv_bytes()
        except (EOFError, OSError):
            return 0, True, None
        number = int.from_bytes(data[:2], "little")
        try:
            return number, True, pickle.loads(memoryview(data)[2:])
        except BaseException as error:  # noqa: BLE001  (that task's error alone)
            return number, False, error

    def put(self, message: Any) -> None:
        """Send a message to the pool. Raises what pickling raises."""
        data = dumps_through(message, self.connection.fileno)
        try:
            self.connection.send_bytes(data)
        except OSError:  # the pool has ended, which `get` says
            pass


class WorkerChannel:
    """The pool's side of one worker."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self.end = WorkerEnd(theirs)

    def send(self, number: int, packed: bytes) -> None:
        """Send a packed message."""
        try:
            self.connection.send_bytes(number.to_bytes(2, "little") + packed)
        except OSError:  # it is dead: its sentinel says so next
            pass

    def finish(self) -> None:
        """Tell the worker to end when it has done what it has."""
        self.send(0, dumps(None))

    def take_back(self, most: int) -> None:
        """Say that what is in a pipe cannot be taken back."""

    def release(self) -> None:
        """In the parent, when the worker is started: close the worker's side."""
        self.end.connection.close()

    def close(self) -> None:
        """Give it up."""
        self.connection.close()


class Channels:
    """All channels of a pool."""

    def __init__(self) -> None:
        self._lines: dict[int, WorkerChannel] = {}
        self._notes: collections.deque[tuple[int, Any]] = collections.deque()
        self._ended: set[int] = set()
        self._pipe = WakePipe()

    def open(self, number: int) -> WorkerChannel:
        """Make a channel for a worker."""
        line = WorkerChannel()
        self._lines[number] = line
        self._pipe.wake()
        return line

    def drop(self, number: int) -> None:
        """Forget a worker."""
        self._lines.pop(number, None)
        self._ended.discard(number)

    def note(self, number: int, what: Any = None) -> None:
        """Have `take` return (number, what) after all that this worker has sent; number 0 just wakes it."""
        self._notes.append((number, what))
        self._pipe.wake()

    def has_more(self) -> bool:
        """Say whether `take` would not wait, as far as that is known without a look at the pipes."""
        return False

    def take(self, timeout: float) -> tuple[int, bool, Any] | None:
        """Wait up to `timeout` seconds for the next message of any worker; return None if there was none.

        Returns: the worker's number, whether the message could be opened, it or the error.
        """
        until = time.monotonic() + timeout
        while True:
            if self._notes:
                if found := self._take_note():
                    return found
                continue  # its line has ended: the note is next
            lines = {line.connection: number for number, line in list(self._lines.items()) if number not in self._ended}
            found_ready = wait([self._pipe.fd, *lines], max(until - time.monotonic(), 0.0))
            if not found_ready:
                return None
            for ready in found_ready:
                if ready == self._pipe.fd:
                    self._pipe.drain()
                elif found := self._receive(ready, lines[ready]):
                    return found

    def _take_note(self) -> tuple[int, bool, Any] | None:
        number, what = self._notes[0]
        line = self._lines.get(number)
        if line is not None and number not in self._ended and line.connection.poll():
            return self._receive(line.connection, number)
        self._notes.popleft()
        return number, True, what

    def _receive(self, connection: Any, number: int) -> tuple[int, bool, Any] | None:
        try:
            data = connection.recv_bytes()
        except (EOFError, OSError):
            self._ended.add(number)
            return None
        try:
            return number, True, pickle.loads(data)
        except BaseException as error:  # noqa: BLE001  (a message that cannot be opened is that task's error alone)
            return number, False, error

    def close(self) -> None:
        """Give everything up."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()
        self._pipe.close()
