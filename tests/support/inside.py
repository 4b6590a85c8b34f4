"""Classes that override the insides of ours, as libraries do; module level, so that each start method finds them."""

import copyreg
import io
import os
import pickle
import threading
import weakref
from dataclasses import dataclass

import polyproc
from polyproc import pool, queues, util


@dataclass(frozen=True)
class Number:
    """Says by which reducers it was pickled."""

    value: int
    way: str = "none"


def reducer(way):
    return lambda number: (Number, (number.value, way))


class Pickler:
    """Pickles with reducers of its own; itself pickled by name."""

    def __init__(self, way):
        self.way = way

    def dumps(self, obj):
        buffer = io.BytesIO()
        pickler = pickle.Pickler(buffer)
        pickler.dispatch_table = copyreg.dispatch_table.copy()
        pickler.dispatch_table[Number] = reducer(self.way)
        pickler.dump(obj)
        return buffer.getvalue()


class FeedingQueue(queues.Queue):
    """Replaces the feeder's loop and what travels, as loky's queue does."""

    def __init__(self, maxsize=0, *, ctx, pickler):
        super().__init__(maxsize, ctx=ctx)
        self.pickler = pickler

    def __getstate__(self):
        ends = (self._reader, self._writer, self._rlock, self._wlock, self._sem)
        return (self._ignore_epipe, self._maxsize, self._opid, self.pickler, *ends)

    def __setstate__(self, state):
        self._ignore_epipe, self._maxsize, self._opid, self.pickler = state[:4]
        self._reader, self._writer, self._rlock, self._wlock, self._sem = state[4:]
        self._reset()

    def _start_thread(self):
        args = (self._buffer, self._notempty, self._send_bytes, self._wlock, self.pickler)
        self._thread = threading.Thread(target=self._feed, args=args, daemon=True)
        self._thread.start()
        self._jointhread = util.Finalize(
            self._thread, self._finalize_join, [weakref.ref(self._thread)], exitpriority=-5
        )
        self._close = util.Finalize(self, self._finalize_close, [self._buffer, self._notempty], exitpriority=10)

    @staticmethod
    def _feed(buffer, notempty, send_bytes, wlock, pickler):
        while True:
            with notempty:
                while not buffer:
                    notempty.wait()
                obj = buffer.popleft()
            if obj is queues._sentinel:
                return
            with wlock:
                send_bytes(pickler.dumps(obj))


class PlainInsideQueue(queues.Queue):
    """Names an inside and changes nothing: the classic form as it is."""

    @property
    def depth(self):
        return len(self._buffer)


class TellingQueue(queues.Queue):
    """What concurrent.futures does: no inside of ours is touched."""

    def _on_queue_feeder_error(self, error, obj):
        self.told = obj


class LockedQueue(queues.SimpleQueue):
    """Pickles in `put`, as loky's simple queue does."""

    def __init__(self, *, ctx, pickler):
        super().__init__(ctx=ctx)
        self.pickler = pickler

    def __getstate__(self):
        return self._reader, self._writer, self._rlock, self._wlock, self.pickler

    def __setstate__(self, state):
        self._reader, self._writer, self._rlock, self._wlock, self.pickler = state

    def put(self, obj):
        with self._wlock:
            self._writer.send_bytes(self.pickler.dumps(obj))


class PoolQueue:
    """No subclass of ours, as joblib's queue."""

    def __init__(self, context, pickler):
        self.pickler = pickler
        self._reader, self._writer = context.Pipe(duplex=False)
        self._rlock, self._wlock = context.Lock(), context.Lock()
        self._make_methods()

    def __getstate__(self):
        return self._reader, self._writer, self._rlock, self._wlock, self.pickler

    def __setstate__(self, state):
        self._reader, self._writer, self._rlock, self._wlock, self.pickler = state
        self._make_methods()

    def _make_methods(self):
        send = self._writer.send_bytes
        if self._wlock is None:
            self.put = lambda obj: send(self.pickler.dumps(obj))
        else:
            self.put = self._put_locked

    def _put_locked(self, obj):
        with self._wlock:
            self._writer.send_bytes(self.pickler.dumps(obj))


class PicklingPool(pool.Pool):
    """Its tasks and results are pickled by its queues."""

    def _setup_queues(self):
        self._inqueue = PoolQueue(self._ctx, Pickler("in"))
        self._outqueue = PoolQueue(self._ctx, Pickler("out"))
        self._quick_put = self._inqueue.put


def echo(queue, answers):
    """Send what was got, until None."""
    while (item := queue.get()) is not None:
        answers.put(item)
    answers.put(None)


def read_from(queue, answers):
    """Read the descriptor that comes by a queue, to its end."""
    with os.fdopen(queue.get().detach(), "rb") as file:
        answers.put(file.read())


def seen(number):
    """Say how a number got here, and send one back."""
    return number.way, Number(number.value + 1)


def added(number, other):
    return Number(number.value + other.value)


def fail(number):
    raise LookupError(number.value)


def brought():
    """Return what the parent's replaced `get_preparation_data` has brought."""
    return polyproc.was_brought if hasattr(polyproc, "was_brought") else None


class Bringer:
    """Acts as it is opened, as coverage's stowaway does."""

    def __init__(self, value):
        self.value = value

    def __getstate__(self):
        return {"value": self.value}

    def __setstate__(self, state):
        polyproc.was_brought = state["value"]
