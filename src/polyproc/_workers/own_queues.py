"""A pool whose subclass makes queues of its own: what it sends is pickled as they would, and travels as ever.

Libraries override `Pool._setup_queues` for the sake of pickling: joblib's queues put large arrays into files. Their
`put` is called with their `_writer` replaced by one that keeps the bytes (docs/adr/0017).

    pool       Pickled(inqueue, arguments), Carried(function)
    worker     the function's result: Pickled(outqueue, result)        outqueue: came with the initializer
"""

from __future__ import annotations

import pickle
import threading

from polyproc._base.typing import Any, Callable, Sequence
from polyproc._pickling.pickler import dumps, dumps_to_keep
from polyproc._scheduling.actions import ResolvedOptions
from polyproc._workers.process_engine import ProcessPoolEngine
from polyproc._workers.worker_set import PoolConfig, pack


class _Writer:
    """Stands where a queue has the end of its pipe that it writes to; keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    def send_bytes(self, data: bytes) -> None:
        """Keep it."""
        self.data = data

    def send(self, obj: Any) -> None:
        """Keep its pickle."""
        self.data = dumps(obj)


class QueuePickler:
    """Pickles as a queue's `put` does."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._writer = _Writer()
        if "_writer" in vars(queue):  # else it is one of ours, and pickles as all do
            queue._writer.close()
            queue._writer = self._writer
            queue._wlock = None  # nothing is written that others could write to
            if hasattr(queue, "_make_methods"):
                queue._make_methods()  # it may have bound what was replaced
        self._is_own = "_writer" in vars(queue)
        self._lock = threading.Lock()

    def __getstate__(self) -> tuple[Any, ...]:
        return self._queue, self._writer, self._is_own

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._queue, self._writer, self._is_own = state
        self._lock = threading.Lock()

    def dumps(self, obj: Any) -> bytes:
        """Return the pickle of an object. Raises what pickling raises."""
        if not self._is_own:
            return dumps(obj)
        with self._lock:
            self._queue.put(obj)
            return self._writer.data


class Pickled:
    """An object on its way, pickled by a queue; it unpickles to the object."""

    def __init__(self, pickler: QueuePickler, obj: Any) -> None:
        self._pickler = pickler
        self._obj = obj

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self._pickler.dumps(self._obj),)


class Carried:
    """A function in a worker, whose results go as its pool's queue has it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Pickled:
        assert answers.pickler is not None  # the initializer has brought it
        return Pickled(answers.pickler, self._function(*args, **kwargs))


class Answers:
    """How this process, a pool's worker, pickles results. One instance, `answers`."""

    def __init__(self) -> None:
        self.pickler: QueuePickler | None = None


answers = Answers()


class Beginning:
    """A worker's initializer: brings the queue for results, then does what it would have done."""

    def __init__(self, pickler: QueuePickler, initializer: Callable[..., object] | None) -> None:
        self._pickler = pickler
        self._initializer = initializer

    def __call__(self, *args: Any) -> object:
        answers.pickler = self._pickler
        return None if self._initializer is None else self._initializer(*args)


class QueuePoolEngine(ProcessPoolEngine):
    """An engine whose tasks and results are pickled by two queues."""

    def __init__(self, config: PoolConfig, inqueue: Any, outqueue: Any) -> None:
        super().__init__(config._replace(initializer=Beginning(QueuePickler(outqueue), config.initializer)))
        self._pickler = QueuePickler(inqueue)

    def pack_function(self, function: Any, /) -> Any:
        """Return the pickle of a function."""
        return dumps_to_keep(Carried(Pickled(self._pickler, function)))  # type: ignore[arg-type]  # as it is in the worker

    def pack(self, message: Any, /) -> tuple[Any, int]:
        """Pickle what is sent to a worker; return it, and its size."""
        function, kind, payload = message
        return pack((function, kind, Pickled(self._pickler, payload)))

    def add_chunks(
        self, job: Any, function: Any, kind: int, chunks: Sequence[Any], name: str, options: ResolvedOptions
    ) -> None:
        """Submit the chunks of a map, one by one."""
        self.add_tasks(job, 0, ((function, kind, chunk) for chunk in chunks), name, options)
