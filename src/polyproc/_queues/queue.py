"""The queues of this process: those of the C core where it is there, else the portable ones. Chosen once, here."""

from __future__ import annotations

from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING
from polyproc._queues.any_queue import Empty as Empty
from polyproc._queues.any_queue import Full as Full
from polyproc._queues.any_queue import ShutDown as ShutDown

if TYPE_CHECKING or native:
    from polyproc._queues.core_queue import JoinableQueue as JoinableQueue
    from polyproc._queues.core_queue import Queue as Queue
    from polyproc._queues.core_queue import SimpleQueue as SimpleQueue
else:
    from polyproc._queues.portable_queue import JoinableQueue as JoinableQueue
    from polyproc._queues.portable_queue import Queue as Queue
    from polyproc._queues.portable_queue import SimpleQueue as SimpleQueue
