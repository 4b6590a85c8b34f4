"""Door to `_queues/`: many to many."""

from polyproc._queues.queue import Empty as Empty
from polyproc._queues.queue import Full as Full
from polyproc._queues.queue import JoinableQueue as JoinableQueue
from polyproc._queues.queue import Queue as Queue
from polyproc._queues.queue import ShutDown as ShutDown
from polyproc._queues.queue import SimpleQueue as SimpleQueue

# Kept for programs that reach inside multiprocessing.
from polyproc._queues.classic import _sentinel as _sentinel

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]
