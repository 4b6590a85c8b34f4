"""Door to `_synchronize/`: waiting for each other."""

from polyproc._synchronize.barrier import Barrier as Barrier
from polyproc._synchronize.condition import Condition as Condition
from polyproc._synchronize.event import Event as Event
from polyproc._synchronize.semaphore import BoundedSemaphore as BoundedSemaphore
from polyproc._synchronize.semaphore import Lock as Lock
from polyproc._synchronize.semaphore import RLock as RLock
from polyproc._synchronize.semaphore import Semaphore as Semaphore

# Kept for programs that reach inside multiprocessing.
from polyproc._synchronize.semaphore import RECURSIVE_MUTEX as RECURSIVE_MUTEX
from polyproc._synchronize.semaphore import SEMAPHORE as SEMAPHORE
from polyproc._synchronize.semaphore import SemLock as SemLock
from polyproc._synchronize.token import SEM_VALUE_MAX as SEM_VALUE_MAX

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]
