"""Channels over the C core's queues: no descriptor to wait for, large arrays are copied once, nothing blocks."""

from __future__ import annotations

import _pickle as pickle  # what is not written in Python
import functools
from _queue import Empty
from time import monotonic

import polyproc._core as core
from polyproc._base.errors import has_room
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Sequence
from polyproc._pickling import shared_queue
from polyproc._pickling.pickler import dumps_through, dumps_to_keep
from polyproc._pickling.shared_queue import SharedQueue
from polyproc._platform.handles import HeldBack, pause
from polyproc._workers.worker import ALL_DONE, CLOSED, DONE, FAILED, LOOK, Closed, Message, beside, heard

if TYPE_CHECKING:
    from polyproc._scheduling.assignments import QueuedTask
    from polyproc._workers.process_engine import ProcessCalls
    from polyproc._workers.worker_set import WorkerHandle

MAX_BEHIND: int = 64

Packed = tuple[bytes, Sequence[memoryview]]
_NONE: tuple[memoryview, ...] = ()  # the garbage collector does not look at a tuple of what it does not

_FOREVER = 2**63 - 1  # a deadline of the core
_LOOKS, _MOMENT = 10, 0.0001  # how often it is looked whether a worker has taken a message, and after how many seconds
_NO_ROOM = 0.05  # seconds until what there was no memory for is tried again
_MAX_BESIDE = shared_queue.MAX_RECORD - 4096  # bytes of a value that travels in its message's record


def pack(message: Any) -> tuple[Packed, int]:
    """Pickle a message for a worker; return it, and its size."""
    data = core.dumps_plain(message)
    if data is not None:
        return (data, _NONE), len(data)
    buffers: list[memoryview] = []
    data = dumps_to_keep(message, 5, buffers)
    return (data, buffers), len(data) + sum(buffer.nbytes for buffer in buffers)


class _Queue(SharedQueue):
    """A queue that nobody waits for but by `get`."""

    def __init__(self) -> None:
        self._make(0, False, polled=False)


def _opened(queue: _Queue) -> tuple[int, bool, Any]:
    number, kind, record, slot = queue._get_record(None)
    try:
        if kind == shared_queue.PICKLE:
            return number, True, pickle.loads(record)
        return number, True, shared_queue.open_record(kind, record, slot)
    except BaseException as error:  # noqa: BLE001  (a message that cannot be opened is that task's error alone)
        return number, False, error


class _Results(_Queue):
    """What a worker says, each message under its number. It wakes whoever sleeps on the pool's waker."""

    def __init__(self, waker: _Queue) -> None:
        super().__init__()
        self._waker = waker
        self._wakes(waker)

    def __getstate__(self) -> tuple[Any, ...]:
        return *super().__getstate__(), self._waker

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *own, self._waker = state
        super().__setstate__(tuple(own))
        self._wakes(self._waker)

    def _put_other(self, message: Message, deadline: int, tag: int) -> None:
        """Send what is not plain data, or is large. The core calls it."""
        without, value = beside(message)
        buffers: list[memoryview] = []
        data = dumps_through(value, self._memory_fd, 5, buffers)
        kind, said, seconds = without
        if not buffers and len(data) <= _MAX_BESIDE:
            data = pickle.dumps((kind, (said, data), seconds))
            self._put_packed(shared_queue.PICKLE, data, shared_queue.NO_SLOT, deadline, tag)
            return
        head = pickle.dumps(without)
        kind, record, slot = shared_queue.record_of(self, data, buffers, shared_queue.MAX_RECORD - _MAX_BESIDE)
        record = b"".join((record, head, len(head).to_bytes(2, "little")))
        shared_queue.put(self, (kind, record, slot), deadline, tag)


def _said(number: int, kind: int, record: bytes, slot: Any) -> tuple[int, bool, Any]:
    """Return a worker's number, whether what it has said in a record of `_Results` can be read, and it or the error."""
    try:
        if kind != shared_queue.PICKLE:
            start = len(record) - 2 - int.from_bytes(record[-2:], "little")
            head = pickle.loads(record[start:-2])
            return number, True, heard(head, lambda: shared_queue.open_record(kind, record[:start], slot))
        message = pickle.loads(record)
        if message is None or message[0] < FAILED or message[0] == LOOK:  # the quick way for what is nearly all
            return number, True, message
        return number, True, _with_closed(message)
    except BaseException as error:  # noqa: BLE001  (a message that cannot be opened is that task's error alone)
        return number, False, error


def _with_closed(message: Any) -> Any:
    if not message[0] & CLOSED:
        return heard(message)
    kind, (said, data), seconds = message
    return heard((kind, said, seconds), lambda: pickle.loads(data))


def _together(said: list[tuple[int, bool, Any]]) -> list[tuple[int, bool, Any]]:
    """Join what tasks have come to that are done, where that follows each other: number, value, seconds."""
    found: list[tuple[int, bool, Any]] = []
    values: list[tuple[int, Any, float]] | None = None
    for number, opened, message in said:
        if not opened or message is None or message[0] != DONE:
            found.append((number, opened, message))
            values = None
        elif values is None:
            values = [(number, message[1], message[2])]
            found.append((0, True, (ALL_DONE, values, None)))
        else:
            values.append((number, message[1], message[2]))
    return found


class WorkerEnd:
    """A worker's side."""

    def __init__(self, number: int, tasks: _Queue, results: _Results) -> None:
        self.number = number
        self.tasks = tasks
        self.results = results

    def begin(self) -> None:
        """Begin to use it, in the worker: it has no descriptor that a task could close."""
        # One call less for each message.
        #
        # get() -> tuple[int, bool, Any]: wait for a message of the pool; return its number, whether it could be opened,
        #     it or the error.
        # put(message): send a message to the pool. Raises what pickling raises.
        self.get = functools.partial(_opened, self.tasks)
        self.put = functools.partial(self.results._put_tagged, self.number)


class WorkerChannel:
    """The pool's side of one worker."""

    def __init__(self, number: int, waker: _Queue) -> None:
        self._tasks = _Queue()
        self._is_busy = False  # whether the worker was about to take a message for long when it was last looked
        self.is_parked = False  # whether it waits in C, since nothing was sent
        self.results = _Results(waker)
        self.end = WorkerEnd(number, self._tasks, self.results)

    def send(self, number: int, packed: Packed) -> None:
        """Send a packed message. Raises OSError without memory."""
        self.is_parked = False
        data, buffers = packed
        if not buffers and len(data) <= shared_queue.MAX_RECORD:
            self._tasks._put_packed(shared_queue.PICKLE, data, shared_queue.NO_SLOT, _FOREVER, number)
        else:
            shared_queue.put(self._tasks, shared_queue.record_of(self._tasks, data, buffers), _FOREVER, number)

    def send_all(self, tasks: Sequence[tuple[int, QueuedTask]]) -> int:
        """Send tasks, each with its number; return how many: the next one has to be sent alone."""
        self.is_parked = False
        return self._tasks._put_pickles([(number, task.payload) for number, task in tasks])

    def take(self) -> tuple[int, bool, Any] | None:
        """Return what the worker has said, as `Channels.take_some` does; None if it cannot be had here."""
        try:
            number, kind, record, slot = self.results._get_record(0)
        except (Empty, OSError):
            return None
        return _said(number, kind, record, slot)

    def finish(self) -> None:
        """Tell the worker to end when it has done what it has."""
        if self.is_parked:
            self._tasks._end()
        else:
            self._tasks.put(None)

    def take_back(self, most: int) -> tuple[list[int], bool]:
        """Take up to `most` messages back that the worker has not taken, the oldest first.

        Returns: their numbers, and whether there are more: also where the worker is stopped as it takes one.
        """
        numbers: list[int] = []
        missed = 0
        while len(numbers) < most and self._tasks.qsize():
            try:
                number = self._tasks._try_record()[0]
            except Empty:  # the worker was faster, or takes one just now
                missed += 1
                if self._is_busy or missed > _LOOKS:
                    self._is_busy = True
                    break
                pause(_MOMENT)
                continue
            self._is_busy = False
            if number:
                numbers.append(number)
        return numbers, self._tasks.qsize() > 0

    def left_over(self) -> tuple[list[int], int]:
        """After the worker's end: return the numbers of what it has not taken, and of what it has taken in part: 0."""
        numbers: list[int] = []
        while self._tasks.qsize():
            try:
                numbers.append(self._tasks._get_record(0)[0])
            except Empty:
                break
        return [number for number in numbers if number], 0

    def release(self) -> None:
        """In the parent, when the worker is started: nothing is its own alone."""

    def close(self) -> None:
        """Give it up; its memory goes with the worker."""


class Channels:
    """All channels of a pool. The notes are put into the waker, a queue that all workers wake by; none writes to it.

    Attributes:
        has_more: whether `take_some` would not wait; a function of the core's, called for each message.
    """

    has_more: Callable[[], bool]

    def __init__(self) -> None:
        self._waker = _Queue()
        self._results: dict[int, _Results] = {}
        self._hear()
        self._has_changed = False

    def open(self, number: int) -> WorkerChannel:
        """Make a channel for a worker with a number from 1 to 65535."""
        channel = WorkerChannel(number, self._waker)
        self._results[number] = channel.results
        self._has_changed = True
        self.note(0)
        return channel

    def drop(self, number: int) -> None:
        """Forget a worker."""
        self._results.pop(number, None)
        self._has_changed = True

    def note(self, number: int, what: Any = None) -> None:
        """Make `take_some` return (number, what) after all that workers have sent by now; number 0 just wakes it."""
        self._waker._put_tagged(number, what)

    def _hear(self) -> None:
        self._heard = core.QueueSet(self._waker, tuple(list(self._results.values())))
        self.has_more = self._heard.has_items

    def take_some(self, timeout: float, most: int) -> list[tuple[int, bool, Any]]:
        """Wait up to `timeout` seconds for messages of any worker, as `heard` has them; return up to `most`.

        Returns: for each the worker's number, whether the message could be read, it or the error.
        """
        if self._has_changed:
            self._has_changed = False  # first: what changes from here on is seen the next time
            self._hear()
        try:
            records = self._heard.get_records(timeout, most)
        except OSError as error:
            from errno import ENOMEM

            if error.errno != ENOMEM:
                raise
            pause(_NO_ROOM)  # it cannot be mapped now: it is there the next time
            return []
        return _together([_said(*record) for record in records if record is not None])

    def close(self) -> None:
        """Give everything up."""


# -- a call whose caller hears its answer itself (docs/adr/0055) -------------------------------------------------------


def call_alone(engine: ProcessCalls, task: QueuedTask) -> QueuedTask | tuple[Any] | None:
    """Send a task to a worker, if no other is open, and hear its answer in this thread.

    Returns: what came of it, if that is a value; None if its job is to be waited for; the task if it was not sent.
    """
    lock, handle = engine.lock, None
    if engine.scheduler.open or lock._is_owned() or not has_room():  # type: ignore[attr-defined]
        return task
    try:
        with lock:
            if engine.takes_calls():
                handle = _sent_alone(engine, task)
            if handle is None:
                return task
            lent = handle.lent
        if lent and handle.channel.results._await_lent(lent):
            with lock:
                if handle.lent == lent:
                    answer = _heard_alone(engine, task, handle)
                    if answer is not None:
                        return answer
    except BaseException:
        if handle is not None:
            with lock:
                handle.call_in(engine.channels.note)
            engine.cancel_job(task.job, running=True)
        raise
    outcomes = engine.outcomes
    with HeldBack():  # what this thread takes in hand, of its own call or another's, comes to its end
        outcomes.settle()
        if outcomes.are_left():
            outcomes.open_one(None, task.job)
            outcomes.settle()
    if outcomes.are_left():
        engine.wake()
    engine.follow_up()
    return None


def _sent_alone(engine: ProcessCalls, task: QueuedTask) -> WorkerHandle | None:
    """Lend an idle worker, and send it a task; return it."""
    handle = None
    try:
        sent = engine.scheduler.called(task, monotonic())
        if sent is None:
            return None
        id, place, _ = sent
        handle = engine.handles[id]
        channel = handle.channel
        handle.lent = channel.results._lend()
        try:
            channel.send(place, task.payload)
        except Exception as error:  # noqa: BLE001  (no memory: that task cannot be sent now)
            handle.call_in(engine.channels.note)
            engine.perform(engine.scheduler.not_sent(id, place, error, monotonic()))
    except BaseException as error:
        if handle is not None:
            handle.call_in(engine.channels.note)
        engine.fail(error)
        raise
    return handle


def _heard_alone(engine: ProcessCalls, task: QueuedTask, handle: WorkerHandle) -> tuple[Any] | None:
    """Hear what a worker has said that is lent; return what came of the task, if that is a value."""
    try:
        found = handle.channel.take()
        handle.lent = 0
        if handle.channel.results._call_in(False):
            engine.channels.note(0)
        if found is not None:
            id, opened, message = found
            if opened and message is not None:
                kind, value, took = message
                if kind == DONE and type(value) is not Closed and engine.scheduler.returned(task, took):
                    return (value,)
            engine.hear(id, opened, message)
    except BaseException as error:
        engine.fail(error)
        raise
    return None
