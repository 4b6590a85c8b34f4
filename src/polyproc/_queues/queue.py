"""The queues of this process: those of the C core where it is there, else the portable ones. Chosen once, here."""

from __future__ import annotations

from polyproc._native import native
from polyproc._queues.shut_down import Empty as Empty
from polyproc._queues.shut_down import Full as Full
from polyproc._queues.shut_down import ShutDown as ShutDown
from polyproc._typing import TYPE_CHECKING

if TYPE_CHECKING or native:
    from polyproc._queues.core_queue import JoinableQueue as JoinableQueue
    from polyproc._queues.core_queue import Queue as Queue
    from polyproc._queues.core_queue import SimpleQueue as SimpleQueue
else:
    from polyproc._queues.portable_queue import JoinableQueue as JoinableQueue
    from polyproc._queues.portable_queue import Queue as Queue
    from polyproc._queues.portable_simple import SimpleQueue as SimpleQueue
