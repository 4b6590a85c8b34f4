"""The primitives of this process: those of the C core where it is there, else the portable ones. Chosen once, here."""

from __future__ import annotations

from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING
from polyproc._synchronize.predicate import SEM_VALUE_MAX as SEM_VALUE_MAX

if TYPE_CHECKING or native:
    from polyproc._synchronize.core_locks import Barrier as Barrier
    from polyproc._synchronize.core_locks import BoundedSemaphore as BoundedSemaphore
    from polyproc._synchronize.core_locks import Condition as Condition
    from polyproc._synchronize.core_locks import Event as Event
    from polyproc._synchronize.core_locks import Lock as Lock
    from polyproc._synchronize.core_locks import RLock as RLock
    from polyproc._synchronize.core_locks import Semaphore as Semaphore
else:
    from polyproc._synchronize.portable_locks import BoundedSemaphore as BoundedSemaphore
    from polyproc._synchronize.portable_locks import Lock as Lock
    from polyproc._synchronize.portable_locks import RLock as RLock
    from polyproc._synchronize.portable_locks import Semaphore as Semaphore
    from polyproc._synchronize.portable_waits import Barrier as Barrier
    from polyproc._synchronize.portable_waits import Condition as Condition
    from polyproc._synchronize.portable_waits import Event as Event

RECURSIVE_MUTEX, SEMAPHORE = 0, 1
