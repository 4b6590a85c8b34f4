"""A pool's workers on nodes: what the engine of processes (_workers/process_engine.py) asks for, by agents.

Tasks and results go by the agents' connections, and between agent and worker by a pipe; the agent passes bytes on and
reads none. What was sent cannot be taken back: a worker has one task, and one more that it may begin at once.
"""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
import collections
import queue
import signal
import threading

from polyproc._base.errors import ProcessError
from polyproc._base.typing import Any, Callable, Iterator, Sequence
from polyproc._connection.connection import Connection
from polyproc._hosts.crossing import NodeCrossing, dumps_across
from polyproc._hosts.nodes import Nodes
from polyproc._hosts.parcels import Parcel, pack
from polyproc._hosts.remote_child import RemoteChild
from polyproc._hosts.remote_life import remote_life
from polyproc._hosts.wire import PAYLOAD
from polyproc._pickling.pickler import InheritedValue, KeptPickle, dumps
from polyproc._pickling.sending import while_sending
from polyproc._platform.circumstances import share_of
from polyproc._process.process import BaseProcess, Process, launched_by
from polyproc._workers.pipe_channels import WorkerEnd
from polyproc._workers.worker import WorkerPlan, of_bytes, to_bytes, worker
from polyproc._workers.worker_set import PoolConfig, WorkerHandle

_LARGEST_SHORT = 0x7FFFFFFF  # of a message's length, in four bytes: see portable_connection.py
_LONG = b"\xff\xff\xff\xff"
_AT_ONCE = 1 << 20  # bytes of memory that are taken for a message before any of it is there
_MAX_ON_WAY = 1 << 22  # bytes on their way to a worker


class HostWorkerEnd(WorkerEnd):
    """A worker's side, on another host than the pool's.

    A message that has large buffers is followed by them, each as a message: how many, and their sizes, come before it.
    """

    def get(self) -> tuple[int, bool, Any]:
        """Wait for a message of the pool; return its number, whether it could be opened, it or the error."""
        if self._kept is not None and not self._kept.is_there():
            return 0, True, None
        try:
            data = memoryview(self.connection.recv_bytes())
            sizes, rest = _sizes_of(data[2:])
            buffers = [bytearray(size) for size in sizes]
            for buffer in buffers:
                self.connection.recv_bytes_into(buffer)
        except (EOFError, OSError):
            return 0, True, None
        number = int.from_bytes(data[:2], "little")
        try:
            return number, True, pickle.loads(rest, buffers=buffers)
        except BaseException as error:  # noqa: BLE001  (that task's error alone)
            return number, False, error

    def put(self, message: Any) -> None:
        """Send a message to the pool. Raises what pickling raises, and ProcessError for what is of this host."""
        apart: list[memoryview] = []
        data = to_bytes(message, lambda value: dumps_across(value, apart))
        try:
            self.connection.send_bytes(_with_sizes(apart) + data)
            for view in apart:
                self.connection.send_bytes(view)
        except OSError:  # the pool has ended, which `get` says
            pass


def _with_sizes(buffers: Sequence[Any]) -> bytes:
    sizes = [memoryview(buffer).nbytes for buffer in buffers]
    return len(sizes).to_bytes(2, "little") + b"".join(size.to_bytes(8, "little") for size in sizes)


def _sizes_of(data: memoryview) -> tuple[list[int], memoryview]:
    """Return the sizes of a message's buffers, and the rest of it."""
    end = 2 + 8 * int.from_bytes(data[:2], "little")
    return [int.from_bytes(data[at : at + 8], "little") for at in range(2, end, 8)], data[end:]


def host_worker(threads: int | None, kept: InheritedValue) -> None:
    """Be a worker, in a process that an agent has started for a pool."""
    assert remote_life.channel is not None  # its agent was told that it is a worker
    fd, word = remote_life.channel
    worker(HostWorkerEnd(Connection(fd)), word, threads, kept)


class HostWord:
    """Names the call that a worker is to end: kept by its agent, in memory that the two share."""

    def __init__(self, channel: HostWorkerChannel) -> None:
        self._channel = channel

    def set(self, place: int, why: int) -> None:
        """Name a task; then the signal may be sent."""
        self._channel.order("word", place, why)

    def clear(self) -> None:
        """Name none."""
        self._channel.order("word", 0, 0)

    def close_batch(self, place: int) -> int | None:
        """Say that it cannot be known here how many chunks of a batch are begun."""


class HostWorkerChannel:
    """The pool's side of one worker. No more than some bytes are on their way to it, however large its tasks are."""

    def __init__(self, number: int, take: Callable[[tuple[int, bool, Any]], object]) -> None:
        self._number = number
        self._take = take
        self._lock = threading.Lock()
        self._child: RemoteChild | None = None
        self._unsent: collections.deque[memoryview] = collections.deque()
        self._on_way = 0  # bytes that its pipe has not taken, as far as is known
        self._incoming = Incoming()
        self._begun: list[bytearray] = []  # a message, and its buffers, that is not whole
        self._lacking = 0  # how many of its buffers are still to come

    def begin(self, child: RemoteChild) -> None:
        """Send what was kept, now that there is a process."""
        with self._lock:
            self._child = child
            self._send_on()

    def send(self, number: int, packed: bytes | Parcel) -> None:
        """Send a packed message."""
        data, *buffers = packed.parts if isinstance(packed, Parcel) else (packed,)
        start = number.to_bytes(2, "little") + _with_sizes(buffers)
        pieces = [_header(len(start) + len(data)) + start, data]
        for buffer in buffers:
            pieces += (_header(len(buffer)), buffer)
        if not buffers and len(data) < PAYLOAD:
            pieces = [b"".join(pieces)]
        with self._lock:
            self._unsent += map(memoryview, pieces)
            self._send_on()

    def note_taken(self, count: int) -> None:
        """Send more, in the node's thread, of what waits."""
        with self._lock:
            self._on_way -= count
            self._send_on()

    def _send_on(self) -> None:
        while self._child is not None and self._unsent and self._on_way < _MAX_ON_WAY:
            piece = self._unsent.popleft()
            if len(piece) > PAYLOAD:
                self._unsent.appendleft(piece[PAYLOAD:])
                piece = piece[:PAYLOAD]
            self._on_way += len(piece)
            self._child.node.send("data", self._child.id, payload=piece)

    def order(self, what: str, *details: Any) -> None:
        """Send its agent an order about it."""
        if self._child is not None:
            self._child.node.send(what, self._child.id, *details)

    def finish(self) -> None:
        """Tell the worker to end when it has done what it has."""
        self.send(0, dumps(None))

    def take_back(self, most: int) -> None:
        """Say that what was sent cannot be taken back."""

    def left_over(self) -> tuple[list[int], int]:
        """Say that nothing is known of what a worker that has ended had not begun."""
        return [], 0

    def place(self, size: int) -> memoryview | None:
        """Return where the next bytes of the worker's are to be put."""
        return self._incoming.place(size)

    def receive(self, piece: memoryview) -> None:
        """Take bytes of the worker's, in its node's thread; hand on each message that is whole."""
        try:
            self._take_frames(piece)
        except (MemoryError, OverflowError):  # what somebody else has written into its pipe; or there is no memory
            self._take_frames = lambda piece: None  # type: ignore[method-assign]
            self.order("signal", signal.SIGKILL)

    def _take_frames(self, piece: memoryview) -> None:
        for frame in self._incoming.add(piece):
            self._begun.append(frame)
            if self._lacking:
                self._lacking -= 1
            else:
                self._lacking = len(_sizes_of(memoryview(frame))[0])
            if not self._lacking:
                message, self._begun = self._begun, []
                self._take((self._number, True, message))

    def release(self) -> None:
        """Do nothing: the worker's side was never here."""

    def close(self) -> None:
        """Give it up."""
        self._unsent.clear()


class Incoming:
    """Frames of a connection (portable_connection.py), of which pieces come; the larger ones go straight into place.

    Memory is taken as the length that a header says is believed: a header that lies costs a mebibyte.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._size = -1  # of the frame; negative as long as its header is not whole
        self._frame = bytearray()
        self._missing = memoryview(b"")  # of the memory that is taken

    def place(self, size: int) -> memoryview | None:
        """Return the memory for the next bytes, if they are all of the frame that has begun."""
        return self._missing[:size] if size <= len(self._missing) else None

    def add(self, piece: memoryview) -> Iterator[bytearray]:
        """Take a piece, perhaps one that is in its place; give each frame that is whole. Raises MemoryError."""
        if self._missing and piece.obj is self._missing.obj:
            self._missing = self._missing[len(piece) :]
            piece = piece[:0]
        while self._take_head(piece):
            piece = piece[self._taken :]
            count = min(len(piece), len(self._missing))
            self._missing[:count] = piece[:count]
            self._missing, piece = self._missing[count:], piece[count:]
            if self._missing:
                return
            if len(self._frame) < self._size:
                self._take_memory()
                continue
            frame, self._frame, self._size = self._frame, bytearray(), -1
            yield frame

    _taken = 0  # bytes of a piece that were the header's

    def _take_head(self, piece: memoryview) -> bool:
        """Take what is there of a header, unless a frame has begun; return whether one has now."""
        self._taken = 0
        if self._size >= 0:
            return True
        while len(self._head) < (12 if self._head[:4] == _LONG else 4):
            if self._taken == len(piece):
                return False
            self._head.append(piece[self._taken])
            self._taken += 1
        self._size = int.from_bytes(self._head[4:] or self._head, "big")
        self._head.clear()
        self._take_memory()
        return True

    def _take_memory(self) -> None:
        there = len(self._frame)
        larger = bytearray(min(self._size, max(8 * there, _AT_ONCE)))
        larger[:there] = self._frame
        self._frame, self._missing = larger, memoryview(larger)[there:]


def _header(length: int) -> bytes:
    return _LONG + length.to_bytes(8, "big") if length > _LARGEST_SHORT else length.to_bytes(4, "big")


class HostChannels:
    """All channels of a pool: what workers say comes in the nodes' threads, and waits in one queue."""

    def __init__(self) -> None:
        # A worker, whether it is its message, still pickled; else it is a note.
        self._messages: queue.SimpleQueue[tuple[int, bool, Any]] = queue.SimpleQueue()

    def open(self, number: int) -> HostWorkerChannel:
        """Make a channel for a worker."""
        return HostWorkerChannel(number, self._messages.put)

    def drop(self, number: int) -> None:
        """Do nothing: what it has said before its end was taken."""

    def note(self, number: int, what: Any = None) -> None:
        """Make `take` return (number, what) after all that this worker has sent; number 0 just wakes it."""
        self._messages.put((number, False, what))

    def has_more(self) -> bool:
        """Return whether `take` would not wait."""
        return not self._messages.empty()

    def take(self, timeout: float) -> tuple[int, bool, Any] | None:
        """Wait up to `timeout` seconds for the next message; return None if there was none."""
        try:
            found = self._messages.get(timeout=timeout) if timeout > 0 else self._messages.get_nowait()
        except queue.Empty:
            return None
        number, is_packed, value = found
        try:
            return number, True, _opened(value) if is_packed else value
        except BaseException as error:  # noqa: BLE001  (one that cannot be read is that task's error alone)
            return number, False, error

    def close(self) -> None:
        """Do nothing: it has no descriptors."""


def _opened(message: list[bytearray]) -> Any:
    data, *buffers = message
    return of_bytes(_sizes_of(memoryview(data))[1], buffers)


def kept_with(packed: Any, things: list[Any]) -> Any:
    """Return what was packed; as long as somebody has it, so are the things that it speaks of."""
    if not things:
        return packed
    if isinstance(packed, Parcel):
        packed.things = things
        return packed
    kept = KeptPickle(packed)
    kept.things = things
    return kept


class HostWorkerSet:
    """The workers of a pool on nodes, by id. Only one thread at a time starts some."""

    max_behind = 1

    def __init__(self, config: PoolConfig, nodes: Nodes) -> None:
        self.channels = HostChannels()
        self.handles: dict[int, WorkerHandle] = {}
        self._nodes = nodes
        self._crossing = NodeCrossing(nodes.things)
        self.instead = {"pack_function": self.pack_function}
        plan = WorkerPlan(config.initializer, config.initargs, config.max_memory, config.is_executors)
        self._kept = InheritedValue(plan)
        self._process: type[Any] = launched_by(self, Process)
        self._starting: HostWorkerChannel | None = None

    def pack(self, message: Any) -> tuple[Any, int]:
        """Pickle a message for a worker; return it, as it is now, and its size."""
        things: list[Any] = []
        packed = while_sending(None, things, lambda: pack(message, self._crossing))
        if isinstance(packed, Parcel):
            data, *buffers = packed.parts
            packed = Parcel(data, *map(bytes, buffers))  # it may be sent later, and changed before
        return kept_with(packed, things), len(packed)

    def pack_function(self, function: Any) -> bytes:
        """Pickle what workers are to call."""
        things: list[Any] = []
        data = while_sending(None, things, lambda: dumps_across(function, None, self._crossing))
        found: bytes = kept_with(data, things)
        return found

    def launch(self, process: BaseProcess[Any]) -> RemoteChild:
        """Start a worker's process."""
        return RemoteChild(process, self._nodes, self._starting)

    def start(
        self,
        handles: Sequence[WorkerHandle],
        size: int,
        started: Callable[[WorkerHandle], object],
        failed: Callable[[WorkerHandle, BaseException], object],
    ) -> None:
        """Start workers; `started` is called with each, or `failed` with each that was not, and the error."""
        for handle in handles:
            try:
                self._start_one(handle, share_of(self._nodes.cpu_count(), size))
            except BaseException as error:
                failed(handle, error)
                if not isinstance(error, Exception):
                    raise
            else:
                started(handle)

    def _start_one(self, handle: WorkerHandle, threads: int | None) -> None:
        handle.channel = channel = self.channels.open(handle.id)  # type: ignore[assignment]  # what is asked of one
        handle.word = HostWord(channel)  # type: ignore[assignment]
        process = self._process(target=host_worker, args=(threads, self._kept))
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        handle.process = process
        if handle.doom is not None:
            raise ProcessError("the pool has ended")
        self._starting = channel
        try:
            process.start()
        finally:
            self._starting = None
        channel.begin(process._popen)

    def remove(self, id: int) -> None:
        """Forget a worker that has ended, or could not be started."""
        handle = self.handles.pop(id, None)
        channel = getattr(handle, "channel", None)
        if channel is not None:
            channel.close()

    def close(self) -> None:
        """Give up the channels."""
        for id in list(self.handles):
            self.remove(id)
