"""What a caller waits for: AsyncResult, MapResult and the iterators of imap."""

from __future__ import annotations

import collections
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from polyproc._errors import TimeoutError as PolyprocTimeoutError

Callback = Callable[[Any], object]


class Job:
    """A number of tasks that were asked for together. The pool's thread settles them, callers wait."""

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result of a task; return whether it was the job's last."""
        raise NotImplementedError


class ApplyResult(Job):
    """The result of apply_async, map_async and starmap_async."""

    def __init__(self, callback: Callback | None, error_callback: Callback | None) -> None:
        self._event = threading.Event()
        self._callback = callback
        self._error_callback = error_callback
        self._success = True
        self._value: Any = None

    def ready(self) -> bool:
        """Say whether the call is done."""
        return self._event.is_set()

    def successful(self) -> bool:
        """Say whether the call raised nothing. Raises ValueError when it is not done."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call is done, up to `timeout` seconds."""
        self._event.wait(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """Wait as `wait` does; return the result or raise what the call raised. Raises TimeoutError."""
        self.wait(timeout)
        if not self.ready():
            raise PolyprocTimeoutError
        if self._success:
            return self._value
        raise self._value

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result."""
        self._finish(success, value)
        return True

    def _finish(self, success: bool, value: Any) -> None:
        self._success, self._value = success, value
        self._event.set()
        callback = self._callback if success else self._error_callback
        if callback is not None:
            try:
                callback(value)
            except Exception:  # noqa: BLE001  (a user's callback: reported, the pool goes on)
                sys.stderr.write("a pool's callback raised:\n" + traceback.format_exc())


AsyncResult = ApplyResult


class MapResult(ApplyResult):
    """The result of a call over many items, sent in chunks."""

    def __init__(self, chunksize: int, length: int, callback: Callback | None, error: Callback | None) -> None:
        super().__init__(callback, error)
        self._chunksize = chunksize
        self._left = -(-length // chunksize) if chunksize else 0
        self._value = [None] * length
        if not self._left:
            self._event.set()

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the result of a chunk; the first error counts, and is told when all chunks are done."""
        self._left -= 1
        if success and self._success:
            start = index * self._chunksize
            self._value[start : start + self._chunksize] = value
        elif not success and self._success:
            self._success, self._value = False, value
        if self._left:
            return False
        self._finish(self._success, self._value)
        return True


class IMapIterator(Job):
    """Yields results as they come, in the order of the items."""

    def __init__(self) -> None:
        self._cond = threading.Condition()
        self._items: collections.deque[tuple[bool, Any]] = collections.deque()
        self._unsorted: dict[int, tuple[bool, Any]] = {}
        self._index = 0
        self._settled = 0
        self._length: int | None = None

    def __iter__(self) -> IMapIterator:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, waiting up to `timeout` seconds. Raises TimeoutError, StopIteration."""
        with self._cond:
            if not self._cond.wait_for(lambda: self._items or self._index == self._length, timeout):
                raise PolyprocTimeoutError
            if not self._items:
                raise StopIteration
            success, value = self._items.popleft()
        if success:
            return value
        raise value

    __next__ = next

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take a result; those before it go first."""
        with self._cond:
            self._settled += 1
            self._unsorted[index] = (success, value)
            while self._index in self._unsorted:
                self._items.append(self._unsorted.pop(self._index))
                self._index += 1
            self._cond.notify_all()
            return self._settled == self._length

    def set_length(self, length: int) -> bool:
        """Say how many there are, once that is known; return whether all have come."""
        with self._cond:
            self._length = length
            self._cond.notify_all()
            return self._settled == length


class IMapUnorderedIterator(IMapIterator):
    """Yields results as they come."""

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take a result."""
        with self._cond:
            self._settled += 1
            self._index += 1
            self._items.append((success, value))
            self._cond.notify_all()
            return self._settled == self._length
