"""The exceptions of a queue, which are those of the module `queue`; ShutDown is there from Python 3.13 on."""

from __future__ import annotations

import queue

from polyproc._public import public

Empty = queue.Empty
Full = queue.Full

if hasattr(queue, "ShutDown"):
    ShutDown: type[Exception] = queue.ShutDown
else:

    class _ShutDown(Exception):
        """A queue was shut down: nothing can be put, and what there was has been got."""

    _ShutDown.__name__ = _ShutDown.__qualname__ = "ShutDown"
    ShutDown = public("queues")(_ShutDown)
