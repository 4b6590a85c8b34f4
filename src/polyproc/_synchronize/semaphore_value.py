"""What a semaphore's value may be, and how many a barrier waits for."""

from __future__ import annotations

import errno
import os

from polyproc._lazy import said

SEM_VALUE_MAX = 2**31 - 1  # sem_init(3)


def checked_value(value: int) -> int:
    """Return the value. Raises OSError (EINVAL), as sem_init does, if it is none; TypeError for what is no number."""
    if type(value) is not int:
        value = said("whole", value, "a semaphore's value is a whole number")
    if not 0 <= value <= SEM_VALUE_MAX:
        error = OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        error.add_note(f"a semaphore's value is from 0 to {SEM_VALUE_MAX}, and not {value!r}")
        raise error
    return value


def checked_parties(parties: int) -> int:
    """Return how many a barrier waits for. Raises ValueError if there are none, TypeError for what is no number."""
    if type(parties) is not int:
        parties = said("whole", parties, "parties is how many wait for each other")
    if parties < 1:
        raise ValueError(f"parties must be > 0: {parties} was given")
    return parties
