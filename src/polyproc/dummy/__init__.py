"""Public names of `_threads/`: the same names, on threads."""

from queue import Queue as JoinableQueue
from queue import Queue as Queue
from threading import Barrier as Barrier
from threading import BoundedSemaphore as BoundedSemaphore
from threading import Condition as Condition
from threading import Event as Event
from threading import Lock as Lock
from threading import RLock as RLock
from threading import Semaphore as Semaphore

from builtins import dict as dict
from builtins import list as list

from polyproc.dummy.connection import Pipe as Pipe
from polyproc._pool.thread_pool import ThreadPool as Pool
from polyproc._threads.dummy_manager import Array as Array
from polyproc._threads.dummy_manager import Manager as Manager
from polyproc._threads.dummy_manager import Namespace as Namespace
from polyproc._threads.dummy_manager import Value as Value
from polyproc._threads.dummy_manager import shutdown as shutdown
from polyproc._threads.dummy_process import DummyProcess as DummyProcess
from polyproc._threads.dummy_process import Process as Process
from polyproc._threads.dummy_process import active_children as active_children
from polyproc._threads.dummy_process import current_process as current_process
from polyproc._threads.dummy_process import freeze_support as freeze_support

__all__ = [
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "Queue",
    "RLock",
    "Semaphore",
    "Value",
    "active_children",
    "current_process",
    "dict",
    "freeze_support",
    "list",
]
