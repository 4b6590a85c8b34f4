"""Shared by all locks and conditions: `async with`, `wait_for`, and checks of the numbers that they are given."""

from __future__ import annotations

import errno
import os
import time

from polyproc._base.modules import said
from polyproc._base.typing import Any, Callable
from polyproc._platform.handles import due

TYPE_CHECKING = False  # a bare name: type checkers know what is meant

if TYPE_CHECKING:
    from typing import Protocol

    class _EntersAsync(Protocol):
        async def __aenter__(self) -> bool: ...
        async def __aexit__(self, *error: object) -> None: ...


# `async with`, for what has coroutine methods under `aio`: these are loaded at its first use.


class HeldByAio:
    """An object with coroutine methods that can also be held by `async with`."""

    if TYPE_CHECKING:

        @property
        def aio(self) -> _EntersAsync:
            """The methods as coroutines."""
            ...

    async def __aenter__(self) -> bool:
        return await self.aio.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self.aio.__aexit__(*error)


class WaitsForPredicate(HeldByAio):
    """Adds `wait_for` to a condition that has `wait`."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait to be notified; each condition does it its own way."""
        raise NotImplementedError

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until `predicate()` is true, up to `timeout` seconds; return its last value."""
        result = predicate()
        deadline = None if timeout is None else due(timeout)
        while not result:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result


# What a semaphore's value may be, and how many a barrier waits for.
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
