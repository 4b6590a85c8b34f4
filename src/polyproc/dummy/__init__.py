"""Public names of `_threads`: the names of this library, on threads."""

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
from polyproc._pool.pool import ThreadPool as Pool
from polyproc._threads import Array as Array
from polyproc._threads import Manager as Manager
from polyproc._threads import Namespace as Namespace
from polyproc._threads import Value as Value
from polyproc._threads import shutdown as shutdown
from polyproc._threads import DummyProcess as DummyProcess
from polyproc._threads import Process as Process
from polyproc._threads import active_children as active_children
from polyproc._threads import current_process as current_process
from polyproc._threads import freeze_support as freeze_support

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
