"""What a semaphore's value may be."""

from __future__ import annotations

import errno
import os

SEM_VALUE_MAX = 2**31 - 1  # sem_init(3)


def checked_value(value: int) -> int:
    """Return the value. Raises OSError (EINVAL), as sem_init does, if it is none."""
    if not 0 <= value <= SEM_VALUE_MAX:
        error = OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        error.add_note(f"a semaphore's value is from 0 to {SEM_VALUE_MAX}, and not {value!r}")
        raise error
    return value
