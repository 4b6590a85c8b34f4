"""What is said of queues that are closed, and of sizes that are none."""

from __future__ import annotations

from polyproc._lazy import said
from polyproc._typing import Any


def is_closed(queue: object) -> ValueError:
    """Return the error of what is put into, or asked of, a queue that this process has closed."""
    text = "close() says that this process puts and gets nothing more"
    return ValueError(f"Queue {queue!r} is closed: {text}; put before it, or make another queue")


def whole_size(maxsize: Any) -> int:
    """Return a queue's size that is no plain int. Raises TypeError if it is no whole number."""
    if isinstance(maxsize, float) and maxsize <= 0:
        return 0
    size: int = said("whole", maxsize, "maxsize is a number of items, 0 for no limit")
    return size
