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
import time

from polyproc._base.errors import ProcessError
from polyproc._base.process_state import log
from polyproc._base.typing import Any, Callable, Iterator, Sequence
from polyproc._cleanup import Finalize
from polyproc._connection.connection import Connection
from polyproc._hosts.frames import LONG, MARK, RECEIPT, BrokenFrameError, Opening, handed, header, opening
from polyproc._hosts.nodes import Nodes
from polyproc._hosts.parcels import NodeCrossing, Parcel, dumps_across, pack
from polyproc._hosts.remote_child import RemoteChild
from polyproc._hosts.remote_life import remote_life
from polyproc._hosts.wire import PAYLOAD
from polyproc._pickling.pickler import InheritedValue, KeptPickle, dumps
from polyproc._pickling.sending import while_sending
from polyproc._platform.circumstances import share_of
from polyproc._platform.handles import due
from polyproc._process.process import BaseProcess, Process, launched_by
from polyproc._workers.pipe_channels import WorkerEnd
from polyproc._workers.worker import WorkerPlan, of_bytes, to_bytes, worker
from polyproc._workers.worker_set import PoolConfig, WorkerHandle

_OF_MARK = len(MARK)
_AT_ONCE = 1 << 20  # bytes of memory that are taken for a message before any of it is there
_MAX_ON_WAY = 1 << 22  # bytes on their way to a worker
_OF_SMALL = 2  # pieces of a message without buffers, or with buffers in memory
_HANDOVER = 10.0  # seconds that a worker waits for the pool to take what it has left in memory


class HostWorkerEnd(WorkerEnd):
    """A worker's side, on another host than the pool's, or with `hands_over` on the same.

    A message that has large buffers is followed by them, each as a message, or says where they are in memory.
    """

    def __init__(self, connection: Connection[Any, Any], hands_over: bool) -> None:
        super().__init__(connection)
        self._hands_over = hands_over
        self._came: collections.deque[tuple[Opening, list[Any]]] = collections.deque()

    def get(self) -> tuple[int, bool, Any]:
        """Wait for a message of the pool; return its number, whether it could be opened, it or the error."""
        if self._kept is not None and not self._kept.is_there():
            return 0, True, None
        try:
            while not self._came:
                self._receive()
        except (EOFError, OSError, BrokenFrameError):
            return 0, True, None
        opening, buffers = self._came.popleft()
        try:
            if opening.place is not None:
                buffers = self._taken(opening)
            return opening.number, True, pickle.loads(opening.message, buffers=buffers)
        except BaseException as error:  # noqa: BLE001  (that task's error alone)
            return opening.number, False, error

    def _receive(self) -> bool:
        """Receive a message; return whether it was a receipt. Where a task has read from the pipe, the worker ends."""
        data = self.connection.recv_bytes()
        if data == RECEIPT:
            return True
        opening = Opening(memoryview(data))
        if opening.place is not None and not self._hands_over:
            raise BrokenFrameError("a message from another host refers to memory of this one")
        buffers = [bytearray(size) for size in (() if opening.place is not None else opening.sizes)]
        for buffer in buffers:
            if self.connection.recv_bytes_into(buffer) != len(buffer):
                raise BrokenFrameError("a buffer is not as long as its message announced")
        self._came.append((opening, buffers))
        return False

    def _taken(self, opening: Opening) -> list[memoryview]:
        try:
            return opening.in_memory()
        finally:
            self._send(RECEIPT)

    def _send(self, *messages: Any) -> None:
        try:
            for message in messages:
                self.connection.send_bytes(message)
        except OSError:  # the pool has ended, which `get` says
            pass

    def put(self, message: Any) -> None:
        """Send a message to the pool. Raises what pickling raises, and ProcessError for what is of this host."""
        apart: list[memoryview] = []
        data = to_bytes(message, lambda value: dumps_across(value, apart))
        memory = handed(apart) if self._hands_over else None
        if memory is None:
            self._send(opening(0, apart) + data, *apart)
            return
        self._send(opening(0, apart, memory.place()) + data)
        try:  # as long as this process has it, it can be had
            until = due(_HANDOVER)
            while self.connection.poll(max(until - time.monotonic(), 0.0)) and not self._receive():
                pass
        except (EOFError, OSError, BrokenFrameError):  # which `get` says
            pass


def host_worker(threads: int | None, kept: InheritedValue) -> None:
    """Work for a pool, in a process that an agent has started for it."""
    assert remote_life.channel is not None  # its agent was told that it is a worker
    fd, word, hands_over = remote_life.channel
    worker(HostWorkerEnd(Connection(fd), hands_over), word, threads, kept)


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
        """Return None: how many chunks of a batch are begun cannot be known here."""


class HostWorkerChannel:
    """The pool's side of one worker. No more than some bytes are on their way to it, however large its tasks are."""

    def __init__(self, number: int, take: Callable[[tuple[int, bool, Any]], object]) -> None:
        self._number = number
        self._take = take
        self._lock = threading.Lock()
        self._child: RemoteChild | None = None
        self._early: list[tuple[int, bytes | Parcel]] = []  # messages, as long as there is no process
        self._unsent: collections.deque[memoryview] = collections.deque()
        self._on_way = 0  # bytes that its pipe has not taken, as far as is known
        self._handed: collections.deque[Any] = collections.deque()  # memory that it has to open yet
        self._incoming = Incoming((MARK, RECEIPT))
        self._opening: Opening | None = None  # of a message whose buffers are not all there
        self._buffers: list[Any] = []

    def begin(self, child: RemoteChild) -> None:
        """Send what was kept, now that there is a process."""
        with self._lock:
            self._child = child
            early, self._early = self._early, []
            for number, packed in early:
                self._add(child, number, packed)
            self._send_on()

    def send(self, number: int, packed: bytes | Parcel) -> None:
        """Send a packed message."""
        with self._lock:
            if self._child is None:
                self._early.append((number, packed))
                return
            self._add(self._child, number, packed)
            self._send_on()

    def send_all(self, tasks: Sequence[tuple[int, Any]]) -> int:
        """Return 0: each task has to be sent alone."""
        return 0

    def _add(self, child: RemoteChild, number: int, packed: bytes | Parcel) -> None:
        data, *buffers = packed.parts if isinstance(packed, Parcel) else (packed,)
        memory = packed.memory if isinstance(packed, Parcel) and child.node.is_here else None
        start = opening(number, buffers, b"" if memory is None else memory.place())
        pieces = [header(len(start) + len(data)) + start, data]
        if memory is not None:
            self._handed.append(memory)
        else:
            for buffer in buffers:
                pieces += (header(len(buffer)), buffer)
        if len(pieces) == _OF_SMALL and len(data) < PAYLOAD:
            pieces = [b"".join(pieces)]
        self._unsent += map(memoryview, pieces)

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
        """Return None: what was sent cannot be taken back."""

    def left_over(self) -> tuple[list[int], int]:
        """Return nothing: what a worker that has ended had not begun cannot be known here."""
        return [], 0

    def place(self, size: int) -> memoryview | None:
        """Return where the next bytes of the worker's are to be put."""
        return self._incoming.place(size)

    def receive(self, piece: memoryview) -> None:
        """Take bytes of the worker's, in its node's thread; hand on each message that is whole.

        Something else, such as a task, has written into the worker's pipe what is not a message: the worker is killed.
        """
        try:
            for frame in self._incoming.add(piece):
                self._take_frame(frame)
        except (MemoryError, OverflowError, BrokenFrameError) as error:
            log.info("a pool's worker is killed, since it sent what cannot be read: %r", error)
            self.receive = lambda piece: None  # type: ignore[method-assign]
            self.order("signal", int(signal.SIGKILL))

    def _take_frame(self, frame: bytearray) -> None:
        found = self._opening
        if found is not None:
            self._buffers.append(frame)
        elif frame == RECEIPT:
            if self._handed:
                self._handed.popleft()
            return
        else:
            found = self._opening = Opening(memoryview(frame))
            if found.place is not None:
                if self._child is None or not self._child.node.is_here:
                    raise BrokenFrameError("a message from another host refers to memory of this one")
                self._buffers = self._taken(found)
        if len(self._buffers) == len(found.sizes):
            buffers, self._buffers, self._opening = self._buffers, [], None
            self._take((self._number, True, (found.message, buffers)))
        self._incoming.expected = None if self._opening is None else found.sizes[len(self._buffers)]

    def _taken(self, found: Opening) -> list[Any]:
        """Map what the worker has left in memory, and say so: it waits for that."""
        try:
            return [*found.in_memory()]
        except (OSError, RuntimeError) as error:
            raise BrokenFrameError(f"the buffers of a message cannot be opened: {error}") from error
        finally:
            with self._lock:
                self._unsent.append(memoryview(header(len(RECEIPT)) + RECEIPT))
                self._send_on()

    def release(self) -> None:
        """Do nothing: the worker's side was never here."""

    def close(self) -> None:
        """Give it up."""
        self._unsent.clear()
        self._early.clear()
        self._handed.clear()


class Incoming:
    """Frames of a connection (portable_connection.py), of which pieces come; the larger ones go straight into place.

    Memory is taken as the length that a header says is believed: a header that lies costs a mebibyte. Nobody waits for
    the rest of what does not begin with a mark, or is not as long as is expected.

    Attributes:
        expected: how long the next frame is; None for one that begins with a mark.
    """

    expected: int | None = None

    def __init__(self, marks: Sequence[bytes] = ()) -> None:
        self._marks = marks
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
            self._check()
            if self._missing:
                return
            if len(self._frame) < self._size:
                self._take_memory()
                continue
            frame, self._frame, self._size = self._frame, bytearray(), -1
            yield frame

    def _check(self) -> None:
        """Raise BrokenFrameError if the frame that has begun is no message's."""
        if self.expected is not None:
            if self._size != self.expected:
                raise BrokenFrameError("a buffer is not as long as its message announced")
        elif (
            self._marks
            and len(self._frame) - len(self._missing) >= _OF_MARK
            and self._frame[:_OF_MARK] not in self._marks
        ):
            raise BrokenFrameError("what was sent does not begin with the mark of a message")

    _taken = 0  # bytes of a piece that were the header's

    def _take_head(self, piece: memoryview) -> bool:
        """Take what is there of a header, unless a frame has begun; return whether one has now."""
        self._taken = 0
        if self._size >= 0:
            return True
        while len(self._head) < (12 if self._head[:4] == LONG else 4):
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

    def take_some(self, timeout: float, most: int) -> list[tuple[int, bool, Any]]:
        """Wait up to `timeout` seconds for messages; return up to `most`."""
        found = [self.take(timeout)]
        while found[-1] is not None and len(found) < most:
            found.append(self.take(0.0))
        return [message for message in found if message is not None]

    def close(self) -> None:
        """Do nothing: it has no descriptors."""


def _opened(message: tuple[memoryview, list[Any]]) -> Any:
    data, buffers = message
    return of_bytes(data, buffers)


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
    call_alone = None

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
            data, *buffers = packed.parts  # it may be sent later, and changed before
            memory = handed(buffers) if self._nodes.has_one_here() else None
            packed = Parcel(data, *(map(bytes, buffers) if memory is None else memory.views()))
            packed.memory = memory
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
        meanwhile: Callable[[], object],
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

    def want_no_more(self, starting: Any) -> None:
        """Do nothing: the nodes stay."""

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


# What starts the processes of a remote context, and the workers of its pools.

_EARLY, _LATE = 100, -50  # priorities of finalizers: before and after the children are joined


class HostLauncher:
    """Starts process objects on nodes; as long as one of them, or a class for them, is there, so are the nodes."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self._interrupt = Finalize(self, Nodes.pass_interrupt_on, args=(nodes,), exitpriority=_EARLY)
        self._finalize = Finalize(self, Nodes.close, args=(nodes,), exitpriority=_LATE)

    def worker_set(self, config: PoolConfig) -> Any:
        """Return the workers of a pool on these nodes."""
        return HostWorkerSet(config, self.nodes)

    def launch(self, process: BaseProcess[Any]) -> RemoteChild:
        """Start a process."""
        return RemoteChild(process, self.nodes)
