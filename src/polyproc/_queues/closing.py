"""The exceptions of a queue, which are those of the module `queue`; ShutDown is there from Python 3.13 on."""

from __future__ import annotations

import queue

from polyproc._base.modules import public, said
from polyproc._base.typing import Any

Empty = queue.Empty
Full = queue.Full

if hasattr(queue, "ShutDown"):
    ShutDown: type[Exception] = queue.ShutDown
else:

    class _ShutDown(Exception):
        """A queue was shut down: nothing can be put, and what there was has been got."""

    _ShutDown.__name__ = _ShutDown.__qualname__ = "ShutDown"
    ShutDown = public("queues")(_ShutDown)


# What is said of queues that are closed, and of sizes that are none.


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
