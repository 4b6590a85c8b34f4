"""A pool's workers on nodes: what the engine of processes (_workers/process_engine.py) asks for, by agents.

Tasks and results go by the agents' connections, and between agent and worker by a pipe; the agent passes bytes on and
reads none. What was sent cannot be taken back: a worker has one task, and one more that it may begin at once.
"""

from __future__ import annotations

import collections
import queue
import threading

from polyproc._base.errors import ProcessError
from polyproc._base.typing import Any, Callable, Sequence
from polyproc._connection.connection import Connection
from polyproc._hosts.crossing import dumps_across
from polyproc._hosts.nodes import Nodes
from polyproc._hosts.remote_child import RemoteChild
from polyproc._hosts.remote_life import remote_life
from polyproc._pickling.inherited_values import InheritedValue
from polyproc._pickling.pickler import dumps
from polyproc._process.process import BaseProcess, Process, launched_by
from polyproc._workers.messages import of_bytes, to_bytes
from polyproc._workers.pipe_channels import WorkerEnd
from polyproc._workers.worker import WorkerPlan, share_of, worker
from polyproc._workers.worker_set import PoolConfig, WorkerHandle

_LARGEST_SHORT = 0x7FFFFFFF  # of a message's length, in four bytes: see portable_connection.py
_LONG = b"\xff\xff\xff\xff"


class HostWorkerEnd(WorkerEnd):
    """A worker's side, on another host than the pool's."""

    def put(self, message: Any) -> None:
        """Send a message to the pool. Raises what pickling raises, and ProcessError for what is of this host."""
        data = to_bytes(message, dumps_across)
        try:
            self.connection.send_bytes(data)
        except OSError:  # the pool has ended, which `get` says
            pass


def host_worker(threads: int | None, kept: InheritedValue[WorkerPlan]) -> None:
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
    """The pool's side of one worker."""

    def __init__(self, number: int, take: Callable[[tuple[int, bool, Any]], object]) -> None:
        self._number = number
        self._take = take
        self._lock = threading.Lock()
        self._child: RemoteChild | None = None
        self._unsent: collections.deque[bytes] = collections.deque()  # before there is a process
        self._received = bytearray()

    def begin(self, child: RemoteChild) -> None:
        """Send what was kept, now that there is a process."""
        with self._lock:
            self._child = child
            while self._unsent:
                child.node.send("data", child.id, self._unsent.popleft())

    def send(self, number: int, packed: bytes) -> None:
        """Send a packed message."""
        length = 2 + len(packed)
        size = _LONG + length.to_bytes(8, "big") if length > _LARGEST_SHORT else length.to_bytes(4, "big")
        data = b"".join((size, number.to_bytes(2, "little"), packed))
        with self._lock:
            if self._child is None:
                self._unsent.append(data)
            else:
                self._child.node.send("data", self._child.id, data)

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

    def receive(self, piece: bytes) -> None:
        """Take bytes of the worker's, in its node's thread; hand on each message that is whole."""
        self._received += piece
        while (message := self._whole()) is not None:
            self._take((self._number, True, message))

    def _whole(self) -> bytes | None:
        received = self._received
        start, size = (12, received[4:12]) if received[:4] == _LONG else (4, received[:4])
        end = start + int.from_bytes(size, "big")
        if len(received) < start or len(received) < end:
            return None
        message = bytes(received[start:end])
        del received[:end]
        return message

    def release(self) -> None:
        """Do nothing: the worker's side was never here."""

    def close(self) -> None:
        """Give it up."""
        self._unsent.clear()


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
            return number, True, of_bytes(value) if is_packed else value
        except BaseException as error:  # noqa: BLE001  (one that cannot be read is that task's error alone)
            return number, False, error

    def close(self) -> None:
        """Do nothing: it has no descriptors."""


class HostWorkerSet:
    """The workers of a pool on nodes, by id. Only one thread at a time starts some."""

    max_behind = 1

    def __init__(self, config: PoolConfig, nodes: Nodes) -> None:
        self.channels = HostChannels()
        self.handles: dict[int, WorkerHandle] = {}
        self._nodes = nodes
        plan = WorkerPlan(config.initializer, config.initargs, config.max_memory, config.is_executors)
        self._kept = InheritedValue(plan)
        self._process: type[Any] = launched_by(self, Process)
        self._starting: HostWorkerChannel | None = None

    @staticmethod
    def pack(message: Any) -> tuple[bytes, int]:
        """Pickle a message for a worker; return it, and its size."""
        data = dumps_across(message)
        return data, len(data)

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
