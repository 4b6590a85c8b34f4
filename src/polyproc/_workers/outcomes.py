"""Outcomes on their way to those who wait for them: delivered by one thread at a time, outside of all locks."""

from __future__ import annotations

import collections
import sys
import threading
import traceback
from typing import Any, Protocol

from polyproc._errors import ProcessError
from polyproc._scheduling.actions import (
    CANCELLED,
    ERROR,
    TERMINATED,
    TIMED_OUT,
    VALUE,
    WITHDRAWN,
    Settle,
    SettleAll,
    Stop,
)
from polyproc._workers.interrupter import out_of_time


class Dropped(Exception):
    """The outcome of a call that nobody wanted any more: cancelled, or beyond the end that its reader has set."""

    def __init__(self, is_end: bool) -> None:
        super().__init__()
        self.is_end = is_end


class Job(Protocol):
    """What outcomes go to."""

    keeps: Any  # an object that lives as long as the job is not done

    def settle(self, index: int, success: bool, value: Any) -> bool:
        """Take the outcome of a chunk; return whether it was the last."""
        ...


class Source(Protocol):
    """What brings the tasks of a job as they are asked for."""

    def allow(self, most: int | None) -> None:
        """Send up to so many chunks in all; any number for None."""
        ...

    def cut(self, sent: int, error: BaseException | None) -> None:
        """Send no more than was sent; an error tells its reader why."""
        ...


class Outcomes:
    """Outcomes that are known, and those of them that are `waiting` to be delivered."""

    def __init__(self) -> None:
        self.waiting: collections.deque[Settle | SettleAll | Stop] = collections.deque()
        self._delivering = threading.Lock()
        self.add = self.waiting.append

    def deliver(self) -> None:
        """Hand out what there is. If another thread does, it also hands out what comes meanwhile."""
        waiting = self.waiting
        while waiting and self._delivering.acquire(blocking=False):
            try:
                while waiting:
                    outcome = waiting.popleft()
                    try:
                        self._hand_out(outcome)
                    except BaseException:  # noqa: BLE001  (the user's code, called back: others have to hear of theirs)
                        report("a pool's callback raised")
                    del outcome
            finally:
                self._delivering.release()

    @staticmethod
    def _hand_out(outcome: Settle | SettleAll | Stop) -> None:
        if isinstance(outcome, Stop):
            kind, value = outcome.kind, outcome.value
            outcome.source.cut(outcome.sent, None if kind == WITHDRAWN else _error_of(kind, value))
            return
        if isinstance(outcome, SettleAll):
            job, settle = outcome.job, outcome.job.settle
            for chunk, (success, value) in enumerate(outcome.outcomes, outcome.first):
                if settle(chunk, success, value):
                    job.keeps = None
            return
        job, chunk, kind, value, attempts = outcome.job, outcome.chunk, outcome.kind, outcome.value, outcome.attempts
        del outcome
        if kind == VALUE:
            done = job.settle(chunk, True, value)
        else:
            value = _error_of(kind, value)
            if attempts is not None:
                _add_note(value, f"attempt {attempts[0]} of {attempts[1]}")
            done = job.settle(chunk, False, value)
        del value
        if done:
            job.keeps = None


def _error_of(kind: int, value: Any) -> Any:
    """Return an error for a kind of outcome."""
    if kind == ERROR:
        return value
    if kind == TIMED_OUT:
        return out_of_time()
    if kind == TERMINATED:
        return ProcessError("the pool was terminated")
    assert kind in (CANCELLED, WITHDRAWN)  # there are no others
    return Dropped(kind == WITHDRAWN)


def _add_note(error: BaseException, note: str) -> None:
    try:
        error.add_note(note)
    except BaseException:  # noqa: BLE001  (its `__notes__` is no list, or its method is the user's)
        pass


def report(what: str) -> None:
    """Write a traceback to standard error, if there is one."""
    try:
        sys.stderr.write(f"{what}:\n{traceback.format_exc()}")
    except BaseException:  # noqa: BLE001  (none, a broken one, or an error that cannot be shown)
        pass
