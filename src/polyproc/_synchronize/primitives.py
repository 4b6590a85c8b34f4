"""The primitives of this process: those of the C core where it is there, else the portable ones. Chosen once, here."""

from __future__ import annotations

from polyproc._native import native
from polyproc._synchronize.semaphore_value import SEM_VALUE_MAX as SEM_VALUE_MAX
from polyproc._typing import TYPE_CHECKING

if TYPE_CHECKING or native:
    from polyproc._synchronize.core_locks import BoundedSemaphore as BoundedSemaphore
    from polyproc._synchronize.core_locks import Lock as Lock
    from polyproc._synchronize.core_locks import RLock as RLock
    from polyproc._synchronize.core_locks import Semaphore as Semaphore
    from polyproc._synchronize.core_waits import Barrier as Barrier
    from polyproc._synchronize.core_waits import Condition as Condition
    from polyproc._synchronize.core_waits import Event as Event
else:
    from polyproc._synchronize.portable_barrier import Barrier as Barrier
    from polyproc._synchronize.portable_condition import Condition as Condition
    from polyproc._synchronize.portable_event import Event as Event
    from polyproc._synchronize.portable_locks import BoundedSemaphore as BoundedSemaphore
    from polyproc._synchronize.portable_locks import Lock as Lock
    from polyproc._synchronize.portable_locks import RLock as RLock
    from polyproc._synchronize.portable_locks import Semaphore as Semaphore

RECURSIVE_MUTEX, SEMAPHORE = 0, 1
