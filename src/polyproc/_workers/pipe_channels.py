"""Channels over pipes, one for each worker: nothing is shared between workers.

The pool's ends never block, whatever a worker does or leaves undone: what a pipe does not take is kept, and goes on its
way in `take` as the worker reads; of a message that comes, what is there is kept until the rest has come. A worker that
is stopped, or reads nothing, is one that runs its call for too long, and no more.
"""

from __future__ import annotations

import collections
import pickle
import threading
import time

from polyproc._base.modules import os
from polyproc._base.typing import Any, Callable, Sequence
from polyproc._connection.connection import Connection, plain_pipe
from polyproc._pickling.pickler import dumps, dumps_through, dumps_to_keep
from polyproc._platform.handles import POLLIN, POLLOUT, WakePipe, new_poll, poll
from polyproc._platform.posix import LongLived
from polyproc._workers.worker import Message, of_bytes, to_bytes

MAX_BEHIND: int = 1  # what is in a pipe cannot be taken back, and might have to run at once
_LARGEST_SHORT = 0x7FFFFFFF  # see portable_connection.py
_AT_ONCE = 1 << 20  # bytes of memory that are taken for a message before any of it is there; then 8 times what is
_MAX_AT_ONCE = 1 << 30  # bytes that are read or written by one call
_PAUSE = 0.05  # seconds until what the system has refused is tried again


def pack(message: Any) -> tuple[bytes, int]:
    """Pickle a message for a worker; return it, and its size."""
    data = dumps_to_keep(message)
    return data, len(data)


class WorkerEnd:
    """A worker's side."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self.connection = connection
        self._kept: LongLived | None = None  # a task may close all descriptors, and open files that get their numbers

    def begin(self) -> None:
        """Take note, in the worker, of what the descriptor is."""
        self._kept = LongLived(self.connection.fileno())

    def get(self) -> tuple[int, bool, Any]:
        """Wait for a message of the pool; return its number, whether it could be opened, it or the error.

        When the pool has ended it is None.
        """
        if self._kept is not None and not self._kept.is_there():
            return 0, True, None
        try:
            data = self.connection.recv_bytes()
        except (EOFError, OSError):
            return 0, True, None
        number = int.from_bytes(data[:2], "little")
        try:
            return number, True, pickle.loads(memoryview(data)[2:])
        except BaseException as error:  # noqa: BLE001  (that task's error alone)
            return number, False, error

    def put(self, message: Message) -> None:
        """Send a message to the pool. Raises what pickling raises."""
        data = to_bytes(message, self._dumps)
        if self._kept is not None and not self._kept.is_there():  # `get` says that this is the end
            return
        try:
            self.connection.send_bytes(data)
        except OSError:  # the pool has ended, which `get` says
            pass

    def _dumps(self, value: object) -> bytes:
        return dumps_through(value, self.connection.fileno)


class _Outgoing:
    """Messages on their way out, in order: what of them the pipe has not taken."""

    def __init__(self) -> None:
        self._messages: collections.deque[tuple[int, list[memoryview], int]] = collections.deque()
        self._sent = 0  # bytes of the first one

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, number: int, data: bytes) -> None:
        """Add a message."""
        length = 2 + len(data)
        large = length > _LARGEST_SHORT
        size = b"\xff\xff\xff\xff" + length.to_bytes(8, "big") if large else length.to_bytes(4, "big")
        header = size + number.to_bytes(2, "little")
        self._messages.append((number, [memoryview(header), memoryview(data)], len(header) + len(data)))

    def write(self, fd: int) -> bool:
        """Write what the pipe takes; return whether that is all. Raises OSError."""
        while self._messages:
            _, (header, data), size = self._messages[0]
            start = max(self._sent - len(header), 0)
            try:
                self._sent += os.writev(fd, (header[self._sent :], data[start : start + _MAX_AT_ONCE]))
            except BlockingIOError:
                return False
            if self._sent == size:
                self._messages.popleft()
                self._sent = 0
        return True

    def has_begun(self) -> bool:
        """Whether a part of the first message is out."""
        return self._sent > 0

    def withdraw(self) -> None:
        """Remove the last message, of which nothing is out."""
        self._messages.pop()

    def clear(self) -> tuple[list[int], int]:
        """Send no more; return the numbers of what is not out, and of what is in part, else 0."""
        numbers = [number for number, _, _ in self._messages]
        part = numbers.pop(0) if self._sent else 0
        self._messages.clear()
        self._sent = 0
        return numbers, part


class _Incoming:
    """A message on its way in: what of it is there. Its frame is that of a connection (portable_connection.py)."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._length = -1  # of the message; negative as long as its header is not whole
        self._data = bytearray(4)
        self._count = 0  # bytes that are there
        self._missed = 0  # bytes that were thrown away, since there is no memory for them
        self._refusal: MemoryError | None = None

    def read(self, fd: int) -> tuple[bool, Any] | None:
        """Read some of it; if it is whole then, return whether there was memory for it, and it or why there was none.

        Raises:
            BlockingIOError: nothing is there now. EOFError: there is no more to come. OSError.
        """
        if self._count < len(self._data):
            with memoryview(self._data) as view:
                count = os.readv(fd, [view[self._count :][:_MAX_AT_ONCE]])
            if not count:
                raise EOFError
            self._count += count
        if self._count < len(self._data):
            return None
        if self._length < 0:
            self._begin_body()
        elif self._refusal is not None:
            self._missed += self._count
            self._count = 0
        if self._count + self._missed < self._length:
            self._make_room()
            return None
        if self._length < 0:
            return None  # a long header
        found = (True, self._data) if self._refusal is None else (False, self._refusal)
        self._begin()
        return found

    def _begin_body(self) -> None:
        """Take the header as what it says."""
        length = int.from_bytes(self._data, "big", signed=len(self._data) == 4)
        self._count = 0
        if length == -1:
            self._data = bytearray(8)
        elif length < 0:
            raise OSError("bad message length")
        else:
            self._length = length
            self._data = bytearray()

    def _make_room(self) -> None:
        """Take memory for what comes, as far as the length that the header says is believed by now."""
        left = self._length - self._count - self._missed
        try:
            if self._refusal is None:
                larger = bytearray(min(self._length, max(8 * self._count, _AT_ONCE)))
                larger[: self._count] = self._data
                self._data = larger
        except MemoryError as error:
            self._refusal = error
            self._missed, self._count = self._count, 0
        if self._refusal is not None:
            self._data = bytearray(min(left, 65536))


class WorkerChannel:
    """The pool's side of one worker."""

    def __init__(self, has_rest: Callable[[], object]) -> None:
        self.connection, theirs = plain_pipe()
        self.fd = self.connection.fileno()
        os.set_blocking(self.fd, False)
        self._note_rest = has_rest
        self.end = WorkerEnd(theirs)
        # Of the descriptor, and of what is on its way: it is held for calls that do not block, by one thread that is
        # not broken off in the middle; else the channel is of no use any more.
        self._lock = threading.Lock()
        self._outgoing = _Outgoing()
        self._incoming = _Incoming()
        self._is_torn = False

    def send(self, number: int, packed: bytes) -> None:
        """Send a packed message, as far as the pipe takes it; the rest goes in `take`. OSError without memory."""
        with self._lock:
            self._outgoing.add(number, packed)
            if len(self._outgoing) == 1 and (error := self._write()) and not self._outgoing.has_begun():
                self._outgoing.withdraw()
                raise error
            if self.has_rest:
                self._note_rest()

    def send_all(self, tasks: Sequence[tuple[int, Any]]) -> int:
        """Return 0: each task has to be sent alone."""
        return 0

    def finish(self) -> None:
        """Tell the worker to end when it has done what it has."""
        with self._lock:
            self._outgoing.add(0, dumps(None))
            if len(self._outgoing) == 1:
                self._write()
            if self.has_rest:
                self._note_rest()

    def send_rest(self) -> OSError | None:
        """Send what the pipe takes now of what is left; return what the system has refused it for."""
        with self._lock:
            return self._write()

    def _write(self) -> OSError | None:
        if self._is_torn:
            return None
        whole = False
        try:
            self._outgoing.write(self.connection.fileno())
            whole = True
        except (BrokenPipeError, ConnectionError):  # it is dead: its sentinel says so next
            pass
        except OSError as error:  # for lack of memory
            whole = True
            return error
        finally:
            self._is_torn = not whole
        return None

    @property
    def has_rest(self) -> bool:
        """Whether something waits for the pipe to take it."""
        return len(self._outgoing) > 0 and not self._is_torn

    def receive(self) -> tuple[bool, Any] | None:
        """Take what has come; return a message when it is whole, and before it whether there was memory for it.

        Raises:
            BlockingIOError: nothing is there now. EOFError: there is no more to come. OSError.
        """
        with self._lock:
            return self._incoming.read(self.connection.fileno())

    def take_back(self, most: int) -> None:
        """Return None: what is in a pipe cannot be taken back."""

    def left_over(self) -> tuple[list[int], int]:
        """After the worker's end: return the numbers of what it has not got, and of what it has in part, else 0."""
        with self._lock:
            return self._outgoing.clear()

    def release(self) -> None:
        """In the parent, when the worker is started: close the worker's side."""
        self.end.connection.close()

    def close(self) -> None:
        """Give it up."""
        with self._lock:
            self.connection.close()


class Channels:
    """All channels of a pool."""

    def __init__(self) -> None:
        self._lines: dict[int, WorkerChannel] = {}
        self._notes: collections.deque[tuple[int, Any]] = collections.deque()
        self._ended: set[int] = set()
        self._refused_until = 0.0  # nothing is sent before: the system has refused it
        self._pipe = WakePipe()

    def open(self, number: int) -> WorkerChannel:
        """Make a channel for a worker."""
        line = WorkerChannel(self._pipe.wake)
        self._ended.discard(number)
        self._lines[number] = line
        self._pipe.wake()
        return line

    def drop(self, number: int) -> None:
        """Forget a worker."""
        self._lines.pop(number, None)
        self._ended.discard(number)

    def note(self, number: int, what: Any = None) -> None:
        """Make `take` return (number, what) after all that this worker has sent; number 0 just wakes it."""
        self._notes.append((number, what))
        self._pipe.wake()

    def has_more(self) -> bool:
        """Return whether `take` would not wait, as far as that is known without a look at the pipes."""
        return False

    def take(self, timeout: float) -> tuple[int, bool, Any] | None:
        """Wait up to `timeout` seconds for the next message of any worker, as `heard` has it; return None for none.

        Meanwhile workers get what is on its way to them.

        Returns: the worker's number, whether the message could be read, it or the error.
        """
        until = time.monotonic() + timeout
        while True:
            if self._notes:
                if found := self._take_note():
                    return found
                continue  # its line has ended: the note is next
            now = time.monotonic()
            lines = {line.fd: (number, line) for number, line in list(self._lines.items()) if number not in self._ended}
            found_ready = self._wait(lines, max(until - now, 0.0), now)
            for fd, events in found_ready:
                if fd == self._pipe.fd:
                    self._pipe.drain()
                    continue
                number, line = lines[fd]
                if events & POLLOUT and line.send_rest() is not None:
                    self._refused_until = now + _PAUSE
                if events & ~POLLOUT and (found := self._receive(number, line)):
                    return found
            if time.monotonic() >= until:
                return None

    def take_some(self, timeout: float, most: int) -> list[tuple[int, bool, Any]]:
        """Return what `take` does, in a list: what else there is may be another's turn."""
        found = self.take(timeout)
        return [] if found is None else [found]

    def _wait(self, lines: dict[int, tuple[int, WorkerChannel]], timeout: float, now: float) -> list[tuple[int, int]]:
        poller = new_poll()
        poller.register(self._pipe.fd, POLLIN)
        for fd, (_, line) in lines.items():
            if not line.has_rest:
                poller.register(fd, POLLIN)
            elif self._refused_until <= now:
                poller.register(fd, POLLIN | POLLOUT)
            else:
                poller.register(fd, POLLIN)
                timeout = min(timeout, self._refused_until - now)
        return poll(poller, timeout)

    def _take_note(self) -> tuple[int, bool, Any] | None:
        number, what = self._notes[0]
        line = self._lines.get(number)
        try:
            while line is not None and number not in self._ended:
                if found := self._receive(number, line, blocks=True):
                    return found
        except BlockingIOError:  # that was all
            pass
        self._notes.popleft()
        return number, True, what

    def _receive(self, number: int, line: WorkerChannel, blocks: bool = False) -> tuple[int, bool, Any] | None:
        """Take what a worker has sent; return a message if it is whole. Raises BlockingIOError if that may be."""
        try:
            found = line.receive()
        except BlockingIOError:
            if blocks:
                raise
            return None
        except (EOFError, OSError):
            self._ended.add(number)
            return None
        if found is None:
            return None
        whole, data = found
        if not whole:
            return number, False, data
        try:
            return number, True, of_bytes(data)
        except BaseException as error:  # noqa: BLE001  (a message that cannot be read is that task's error alone)
            return number, False, error

    def close(self) -> None:
        """Give everything up."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()
        self._pipe.close()
