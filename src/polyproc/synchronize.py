"""Public names of `_synchronize/`: waiting for each other."""

from polyproc._synchronize.primitives import Barrier as Barrier
from polyproc._synchronize.primitives import BoundedSemaphore as BoundedSemaphore
from polyproc._synchronize.primitives import Condition as Condition
from polyproc._synchronize.primitives import Event as Event
from polyproc._synchronize.primitives import Lock as Lock
from polyproc._synchronize.primitives import RLock as RLock
from polyproc._synchronize.primitives import Semaphore as Semaphore

# Kept for programs that reach inside multiprocessing.
from polyproc._synchronize.primitives import RECURSIVE_MUTEX as RECURSIVE_MUTEX
from polyproc._synchronize.primitives import SEM_VALUE_MAX as SEM_VALUE_MAX
from polyproc._synchronize.primitives import SEMAPHORE as SEMAPHORE
from polyproc._synchronize.sem_lock import SemLock as SemLock

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]
