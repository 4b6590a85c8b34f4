"""What locks are made of on Windows, in the place of `portable_locks`' counters.

A semaphore is one of the system, by its handle. A lock knows its owner, so that it is handed on when that has ended:

    page        memory of the page file: the owner, the number that wait, whether the event is set
    guard       a mutex, held for each look at the page; the system frees it where a thread ends that has it
    wake event  set, if anybody waits, when the lock comes free

A waiter waits for the wake event and for the owner's process. Only the page's handle travels: guard and event have
names, which follow from the page's, and are made anew where nobody has them, for then nobody waits.

    killed                                      leaves
    ------------------------------------------  -----------------------------------------------------------
    after the owner was written                 a dead owner: handed on
    between the wake event and the owner's end  an event that is set too early: a woken waiter looks, and
        in release()                                resets it
    while it waited                             a number of waiters that is too high: an event that wakes nobody
    with the guard                              an abandoned guard, which the next one has; the page is as above
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import atexit
import mmap
import os
import time
import warnings
from _multiprocessing import SemLock

from polyproc._base.errors import OwnerDiedWarning
from polyproc._base.modules import public
from polyproc._base.typing import Any
from polyproc._pickling.live_fd import live_fd
from polyproc._platform.handles import due, open_pidfd, ready
from polyproc._platform.posix import close_quietly
from polyproc._platform.windows_objects import is_event, new_event, new_mutex, release_mutex, reset_event, set_event
from polyproc._synchronize import portable_locks

_SEMAPHORE, _MOST = 1, 0x7FFFFFFF
_LONGEST = 1_000_000.0  # seconds of one wait
_SIZE = 24
_OWNER, _WAITERS, _BELL = range(3)  # 8 bytes each
_NOBODY, _LEFT = 0, 1  # owners: none; one that has ended in good order, and may have meant to leave it locked
_TICK = 0.5  # seconds from one look at who the owner is to the next: another may have become it before the wait began


def counter_of(value: int) -> SemaphoreCounter:
    """Return a counter of tokens."""
    return SemaphoreCounter(value)


def token_of_lock() -> OwnedToken:
    """Return the one token of a lock."""
    return OwnedToken()


class SemaphoreCounter:
    """A number that processes lower, waiting while it is zero, and raise."""

    def __init__(self, value: int, handle: int | None = None) -> None:
        if handle is None:
            self._semaphore: Any = SemLock(_SEMAPHORE, value, _MOST, "", False)
        else:
            self._semaphore = SemLock._rebuild(handle, _SEMAPHORE, _MOST, "")

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Lower the number by one; wait up to `timeout` seconds (None: without limit) while it is zero."""
        if not block or timeout is None:
            return bool(self._semaphore.acquire(block))
        deadline = due(timeout)
        while True:
            left = deadline - time.monotonic()
            if self._semaphore.acquire(True, min(max(left, 0.0), _LONGEST)):
                return True
            if left <= _LONGEST:
                return False

    def release(self) -> None:
        """Raise the number by one."""
        self._semaphore.release()

    def value(self) -> int:
        """Return the number as it is at this moment."""
        return int(self._semaphore._get_value())

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_semaphore, (live_fd(self._semaphore.handle),)


def _rebuild_semaphore(sent: Any) -> SemaphoreCounter:
    return SemaphoreCounter(0, sent.detach())


class _ThisProcess:
    """This process as an owner: its number, and one at random, for an event that is there as long as it lives."""

    def __init__(self) -> None:
        self._word = 0

    def word(self) -> int:
        """Return what stands for this process in a page."""
        if not self._word:
            word = int.from_bytes(os.urandom(4), "little") << 32 | os.getpid()
            new_event(False, _event_of(word))  # closed by the system, when this process ends
            self._word = word
        return self._word


def _event_of(word: int) -> str:
    return f"polyproc-owner-{word:x}"


def _pid_of(word: int) -> int:
    return word & 0xFFFFFFFF if word != _LEFT else 0


this_process = _ThisProcess()
_held: set[OwnedToken] = set()


@atexit.register
def leave_locks() -> None:
    """Leave what is held locked, at an end in good order: somebody else may be meant to release it."""
    for token in tuple(_held):
        token.leave()


class OwnedToken:
    """One token, with a note of the process that has it. It is handed on when that ends without giving it back."""

    recovered = False  # whether it was taken over from a process that had ended

    def __init__(self, sent: tuple[str, Any] | None = None) -> None:
        self._section = self._guard = self._wake_event = self._process = -1
        self._word = 0  # the owner whose process that is
        if sent is None:
            self._name = f"polyproc-lock-{os.getpid()}-{os.urandom(16).hex()}"
            self._section = _winapi.CreateFileMapping(
                _winapi.INVALID_HANDLE_VALUE, _winapi.NULL, _winapi.PAGE_READWRITE, 0, _SIZE, self._name
            )
        else:
            self._name, handle = sent
            self._section = handle.detach()
        self._map = mmap.mmap(-1, _SIZE, tagname=self._name)
        self._page = memoryview(self._map).cast("Q")

    def __reduce__(self) -> tuple[Any, ...]:
        return OwnedToken, ((self._name, live_fd(self._section)),)

    def __del__(self) -> None:
        close_quietly(self._section, self._guard, self._wake_event, self._process)

    # -- the page --------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._wake_event < 0:
            close_quietly(self._guard)  # of one that was interrupted here
            self._guard = new_mutex(f"{self._name}-guard")
            self._wake_event = new_event(False, f"{self._name}-wake")

    def _close_page(self) -> None:
        """Give the guard back. An exception of a signal's handler may come before it is had, or as it is."""
        try:
            release_mutex(self._guard)
        except OSError:  # not had
            pass

    def _open_page(self) -> None:
        _winapi.WaitForSingleObject(self._guard, _winapi.INFINITE)  # WAIT_ABANDONED will do

    def _take(self, dead: int, waits: int) -> int:
        """Take it if nobody has it, or if `dead` has; return who has it otherwise. Add to the number that wait."""
        me = this_process.word()
        page = self._page
        try:
            self._open_page()
            owner = page[_OWNER]
            if page[_BELL]:
                reset_event(self._wake_event)
                page[_BELL] = 0
            if owner not in (_NOBODY, dead):
                if waits > 0:
                    page[_WAITERS] += 1
                return owner
            if waits < 0 and page[_WAITERS]:
                page[_WAITERS] -= 1
            page[_OWNER] = me
        finally:
            self._close_page()
        self.recovered = owner != _NOBODY
        _held.add(self)
        return _NOBODY

    def _wait_no_more(self) -> None:
        try:
            self._open_page()
            if self._page[_WAITERS]:
                self._page[_WAITERS] -= 1
        finally:
            self._close_page()

    def release(self) -> None:
        """Give it back, whoever has it."""
        self._set_owner(_NOBODY, None)

    def leave(self) -> None:
        """Have nobody be its owner, and it stay taken."""
        self._set_owner(_LEFT, this_process.word())

    def _set_owner(self, to: int, only: int | None) -> None:
        self._open()
        _held.discard(self)
        page = self._page
        try:
            self._open_page()
            if only in (None, page[_OWNER]):
                if page[_WAITERS]:
                    page[_BELL] = 1
                    set_event(self._wake_event)
                page[_OWNER] = to
        finally:
            self._close_page()

    def value(self) -> int:
        """Return 1 if nobody has it, else 0."""
        return int(self._page[_OWNER] == _NOBODY)

    def owner(self) -> int | None:
        """Return the number of the process that has it; None if there is none."""
        return _pid_of(self._page[_OWNER]) or None

    # -- waiting ---------------------------------------------------------------------------------------------------

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it; wait up to `timeout` seconds (None: without limit) while another has it."""
        self._open()
        owner = self._take(_NOBODY, 0)
        if owner == _NOBODY:
            return True
        if self._has_ended(owner):
            owner = self._take(owner, 0)
        if owner == _NOBODY or not block:
            return owner == _NOBODY
        return self._wait(None if timeout is None else due(timeout))

    def _wait(self, deadline: float | None) -> bool:
        owner = self._take(_NOBODY, 1)
        counted = owner != _NOBODY
        try:
            while owner != _NOBODY:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                dead = owner if self._wait_for(owner, left) else _NOBODY
                owner = self._take(dead, -1)
                counted = owner != _NOBODY
        finally:
            if counted:
                self._wait_no_more()
        return True

    def _wait_for(self, owner: int, left: float | None) -> bool:
        """Wait until it may have come free; return whether its owner has ended."""
        if self._has_ended(owner):
            return True
        handles = [self._wake_event] if self._process < 0 else [self._wake_event, self._process]
        return self._process in ready(handles, _TICK if left is None else min(left, _TICK))

    def _has_ended(self, owner: int) -> bool:
        """Return whether the process is gone that was the owner; have a handle of it, if it may be waited for."""
        if owner != self._word:
            process, self._process, self._word = self._process, -1, 0
            close_quietly(process)
            if owner in (_LEFT, this_process.word()):
                return False
            self._process = open_pidfd(_pid_of(owner))
            self._word = owner
        if self._process >= 0 and ready([self._process], 0):
            return True
        # Whose number it is now, if another has got it, has no such event.
        return self._word != 0 and not is_event(_event_of(owner))


class _Handed:
    """What Lock and RLock have more of, as with the C core."""

    _tokens: Any

    @property
    def recovered(self) -> bool:
        """Whether the current hold came from an owner that died: what the lock guards may be half done."""
        return bool(self._tokens.recovered)

    @property
    def owner(self) -> int | None:
        """The pid of the process that holds it, or None."""
        return self._tokens.owner()  # type: ignore[no-any-return]

    def _taken(self) -> None:
        """Warn, if it came from an owner that died."""
        if self._tokens.recovered:
            try:
                warnings.warn("a process that held a lock died: what it guards may be half done", OwnerDiedWarning, 3)
            except OwnerDiedWarning:
                self._tokens.release()
                raise


@public("synchronize")
class Lock(_Handed, portable_locks.Lock):
    """A lock. Any process or thread may release it."""


@public("synchronize")
class RLock(_Handed, portable_locks.RLock):
    """A lock that its holder may take again; it must release it as often, and nobody else may."""
