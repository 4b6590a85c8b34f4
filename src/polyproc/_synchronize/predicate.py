"""Waiting in a condition until something is true: the same for every condition."""

from __future__ import annotations

import time

from polyproc._aio_attribute import HeldByAio
from polyproc._platform.handles import due
from polyproc._typing import Any, Callable


class WaitsForPredicate(HeldByAio):
    """What `wait` gives to a condition."""

    _aio_class = ("polyproc._synchronize.async_locks", "AsyncCondition")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait to be notified; each condition does it its own way."""
        raise NotImplementedError

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until `predicate()` is true, up to `timeout` seconds; return its last value."""
        result = predicate()
        deadline = None if timeout is None else due(timeout)
        while not result:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result
