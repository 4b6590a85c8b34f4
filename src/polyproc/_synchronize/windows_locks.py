"""What locks are made of on Windows, in the place of `portable_locks`' counters.

A lock knows its owner, and a semaphore of up to 32 tokens the owner of each, so that they are handed on when that has
ended. A semaphore of none or of more is one of the system, by its handle.

    page        memory of the page file: an owner for each token, the tokens without one, the number that wait,
                whether the event is set
    guard       a mutex, held for each look at the page; the system frees it where a thread ends that has it
    wake event  set, if anybody waits, when a token comes free

A waiter waits for the wake event and for the owners' processes. Only the page's handle travels: guard and event have
names, which follow from the page's, and are made anew where nobody has them, for then nobody waits. A token that was
taken from a plain semaphore without `with` may be a message: it is marked as one, and stays taken.

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
from polyproc._base.typing import Any, Sequence
from polyproc._pickling.sending import live_fd
from polyproc._platform.handles import due, open_pidfd, ready
from polyproc._platform.posix import close_quietly
from polyproc._platform.windows_objects import is_event, new_event, new_mutex, release_mutex, reset_event, set_event
from polyproc._synchronize import portable_locks

_SEMAPHORE, _MAX_TOKENS = 1, 0x7FFFFFFF
_LONGEST = 1_000_000.0  # seconds of one wait
_WITH_OWNERS = 32  # tokens of a semaphore that knows their holders
_WAITERS, _SIGNALLED, _EXTRA, _TOKENS = range(4)  # 8 bytes each; from the last one on, the owner of each token
_NOBODY, _LEFT = 0, 1  # owners: none; one that has ended in good order, and may have meant to leave it taken
_MESSAGE = 1 << 63  # in an owner: the token may be a message, and stays taken
_TICK = 0.5  # seconds from one look at who the owners are to the next: others may have become it before the wait began


def counter_of(value: int) -> SemaphoreCounter:
    """Return a counter of tokens that have no owners."""
    return SemaphoreCounter(value)


counter_of_many = counter_of


def token_of_lock() -> OwnedTokens:
    """Return the one token of a lock."""
    return OwnedTokens(1, True)


class SemaphoreCounter:
    """A number that processes lower, waiting while it is zero, and raise."""

    def __init__(self, value: int, handle: int | None = None) -> None:
        if handle is None:
            self._semaphore: Any = SemLock(_SEMAPHORE, value, _MAX_TOKENS, "", False)
        else:
            self._semaphore = SemLock._rebuild(handle, _SEMAPHORE, _MAX_TOKENS, "")

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
        self._words: dict[str, int] = {}  # at most one; several threads may ask at once

    def word(self) -> int:
        """Return what stands for this process in a page."""
        word = self._words.get("word", 0)
        if not word:
            word = int.from_bytes(os.urandom(4), "little") << 32 & ~_MESSAGE | os.getpid()
            new_event(False, _event_of(word))  # closed by the system, when this process ends
            word = self._words.setdefault("word", word)
        return word


def _event_of(word: int) -> str:
    return f"polyproc-owner-{word:x}"


def _pid_of(word: int) -> int:
    return word & 0xFFFFFFFF if word != _LEFT else 0


this_process = _ThisProcess()
_held: set[OwnedTokens] = set()


@atexit.register
def leave_locks() -> None:
    """Leave what is held taken, at an end in good order: somebody else may be meant to release it."""
    for tokens in tuple(_held):
        tokens.leave()


class _Opened:
    """The guard and the wake event of a page. They are closed with the last reference: a thread may be using them."""

    guard = wake_event = -1

    def __init__(self, name: str) -> None:
        self.guard = new_mutex(f"{name}-guard")
        self.wake_event = new_event(False, f"{name}-wake")

    def __del__(self) -> None:
        close_quietly(self.guard, self.wake_event)


class _Owner:
    """The process of an owner, to be waited for; its handle is -1 where that cannot be."""

    handle = -1

    def __init__(self, word: int) -> None:
        self.handle = open_pidfd(_pid_of(word))

    def __del__(self) -> None:
        close_quietly(self.handle)


class OwnedTokens:
    """Tokens with a note of the process that has each. One is handed on when that ends without giving it back.

    Args:
        number: how many there are.
        bounded: whether there are never more, and none is a message.
        sent: of those that were received, the name of the page and its handle.
    """

    recovered = False  # whether the last one was taken over from a process that had ended
    _section = -1
    _opened: Any = None  # an _Opened from the first use on

    def __init__(self, number: int, bounded: bool, sent: tuple[str, Any] | None = None) -> None:
        self._owners: dict[int, _Owner] = {}  # that were waited for
        self._number = number
        self._bounded = bounded
        size = 8 * (_TOKENS + number)
        if sent is None:
            self._name = f"polyproc-lock-{os.getpid()}-{os.urandom(16).hex()}"
            self._section = _winapi.CreateFileMapping(
                _winapi.INVALID_HANDLE_VALUE, _winapi.NULL, _winapi.PAGE_READWRITE, 0, size, self._name
            )
        else:
            self._name, handle = sent
            self._section = handle.detach()
        self._map = mmap.mmap(-1, size, tagname=self._name)
        self._page = memoryview(self._map).cast("Q")
        self._tokens = self._page[_TOKENS:]

    def __reduce__(self) -> tuple[Any, ...]:
        return OwnedTokens, (self._number, self._bounded, (self._name, live_fd(self._section)))

    def __del__(self) -> None:
        close_quietly(self._section)

    # -- the page --------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._opened is None:
            vars(self).setdefault("_opened", _Opened(self._name))  # one step: another thread may be at it

    def _close_page(self) -> None:
        """Give the guard back. An exception of a signal's handler may come before it is had, or as it is."""
        try:
            release_mutex(self._opened.guard)
        except OSError:  # not had
            pass

    def _open_page(self) -> None:
        _winapi.WaitForSingleObject(self._opened.guard, _winapi.INFINITE)  # WAIT_ABANDONED will do

    def _take(self, sure: bool, dead: Sequence[int], waits: int) -> list[int] | None:
        """Take one that nobody has, or that one of `dead` has. Add to the number that wait, or take from it.

        Returns:
            None if one was taken; if not, the owners that may end.
        """
        me = this_process.word()
        page = self._page
        try:
            self._open_page()
            owners = self._tokens.tolist()
            at = next((at for at, owner in enumerate(owners) if owner == _NOBODY or owner in dead), -1)
            is_free = at >= 0 or page[_EXTRA] > 0
            if page[_SIGNALLED] and not (is_free and owners.count(_NOBODY) + page[_EXTRA] > 1):
                reset_event(self._opened.wake_event)
                page[_SIGNALLED] = 0
            if not is_free:
                if waits > 0:
                    page[_WAITERS] += 1
                return [owner for owner in owners if owner != _LEFT and not owner & _MESSAGE]
            if waits < 0 and page[_WAITERS]:
                page[_WAITERS] -= 1
            if at < 0:
                page[_EXTRA] -= 1
            else:
                self._tokens[at] = me if sure else me | _MESSAGE
        finally:
            self._close_page()
        self.recovered = at >= 0 and owners[at] != _NOBODY
        if sure and at >= 0:
            _held.add(self)
        return None

    def _wait_no_more(self) -> None:
        try:
            self._open_page()
            if self._page[_WAITERS]:
                self._page[_WAITERS] -= 1
        finally:
            self._close_page()

    def release(self, sure: bool | None = None) -> None:
        """Give one back, if possible one that this process has taken, as `sure` or not. Raises ValueError."""
        me = this_process.word()
        first = me if sure or (sure is None and self._bounded) else me | _MESSAGE
        self._open()
        page, tokens = self._page, self._tokens
        try:
            self._open_page()
            owners = tokens.tolist()
            at = self._to_be_given_back(owners, first)
            if at < 0 and self._bounded:
                raise ValueError(portable_locks.TOO_OFTEN)
            if page[_WAITERS]:
                page[_SIGNALLED] = 1
                set_event(self._opened.wake_event)
            if at < 0:
                page[_EXTRA] += 1
            else:
                tokens[at] = _NOBODY
        finally:
            self._close_page()
        if me not in tokens.tolist():
            _held.discard(self)

    def _to_be_given_back(self, owners: list[int], first: int) -> int:
        for owner in (first, first ^ _MESSAGE):
            if owner in owners:
                return owners.index(owner)
        others = (
            at
            for at, owner in enumerate(owners)
            if owner != _NOBODY and (self._bounded or owner == _LEFT or owner & _MESSAGE)
        )
        return next(others, -1)

    def leave(self) -> None:
        """Leave what this process has taken without an owner, and taken."""
        me = this_process.word()
        self._open()
        try:
            self._open_page()
            for at, owner in enumerate(self._tokens):
                if owner == me:
                    self._tokens[at] = _LEFT
        finally:
            self._close_page()
        _held.discard(self)

    def value(self) -> int:
        """Return how many nobody has."""
        return self._tokens.tolist().count(_NOBODY) + self._page[_EXTRA]

    def owner(self) -> int | None:
        """Return the number of the process that has the first; None if there is none."""
        return _pid_of(self._tokens[0]) or None

    # -- waiting ---------------------------------------------------------------------------------------------------

    def acquire(self, block: bool = True, timeout: float | None = None, sure: bool | None = None) -> bool:
        """Take one; wait up to `timeout` seconds (None: without limit) while others have them all.

        Args:
            sure: whether it is handed on should this process be killed; None: if it cannot be a message.
        """
        if sure is None:
            sure = self._bounded
        self._open()
        owners = self._take(sure, (), 0)
        if owners is not None and (dead := self._ended(owners)):
            owners = self._take(sure, dead, 0)
        if owners is None or not block:
            return owners is None
        return self._wait(sure, None if timeout is None else due(timeout))

    def _wait(self, sure: bool, deadline: float | None) -> bool:
        owners = self._take(sure, (), 1)
        counted = owners is not None
        try:
            while owners is not None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                owners = self._take(sure, self._wait_for(owners, left), -1)
                counted = owners is not None
        finally:
            if counted:
                self._wait_no_more()
        return True

    def _wait_for(self, owners: list[int], left: float | None) -> list[int]:
        """Wait until one may have come free; return the owners that have ended."""
        dead = self._ended(owners)
        if not dead:
            known = [(self._owners.get(word), word) for word in owners]  # kept open here: others may forget them
            processes = {owner.handle: word for owner, word in known if owner is not None and owner.handle >= 0}
            found = ready([self._opened.wake_event, *processes], _TICK if left is None else min(left, _TICK))
            dead = [processes[handle] for handle in found if handle in processes]
        return dead

    def _ended(self, owners: list[int]) -> list[int]:
        """Return those of some owners whose process is gone; know the others, to wait for them."""
        for word in [*self._owners]:
            if word not in owners:
                self._owners.pop(word, None)
        me = this_process.word()
        return [word for word in {*owners} - {me} if self._has_ended(word)]

    def _has_ended(self, word: int) -> bool:
        owner = self._owners.get(word)
        if owner is None:
            owner = self._owners.setdefault(word, _Owner(word))
        if owner.handle >= 0 and ready([owner.handle], 0):
            return True
        # Whose number it is now, if another has got it, has no such event.
        return not is_event(_event_of(word))


class _Handed:
    """What locks and semaphores have more of, as with the C core."""

    _tokens: Any

    @property
    def recovered(self) -> bool:
        """Whether the last one was taken over from a process that died: what it guards may be half done."""
        return getattr(self._tokens, "recovered", False)


class _HandedLock(_Handed):
    @property
    def owner(self) -> int | None:
        """The pid of the process that holds it, or None."""
        return self._tokens.owner()  # type: ignore[no-any-return]

    def _taken(self) -> None:
        """Warn, if it came from an owner that died; where that raises, it is given back (`acquire`)."""
        if self._tokens.recovered:
            warnings.warn("a process that held a lock died: what it guards may be half done", OwnerDiedWarning, 3)


@public("synchronize")
class Lock(_HandedLock, portable_locks.Lock):
    """A lock. Any process or thread may release it."""


@public("synchronize")
class RLock(_HandedLock, portable_locks.RLock):
    """A lock that its holder may take again; it must release it as often, and nobody else may."""


@public("synchronize")
class Semaphore(_Handed, portable_locks.Semaphore):
    """A counter that `acquire` lowers, waiting while it is zero, and `release` raises.

    When a process is killed in a `with` block of it, what it had taken is given back. What it took by `acquire` alone
    is not: that may have been meant as a message. Of more than 32 tokens none is given back.
    """

    def _new_tokens(self, value: int) -> Any:
        return OwnedTokens(value, value == self._maxvalue) if 0 < value <= _WITH_OWNERS else counter_of(value)

    def __enter__(self) -> bool:
        if not isinstance(self._tokens, OwnedTokens):
            return self.acquire()
        return self._note(self._tokens.acquire(sure=True))

    def __exit__(self, *exc: object) -> None:
        if not isinstance(self._tokens, OwnedTokens):
            self.release()
            return
        self._tokens.release(True)
        self._count = max(self._count - 1, 0)


@public("synchronize")
class BoundedSemaphore(Semaphore, portable_locks.BoundedSemaphore):
    """A semaphore whose counter never gets above its first value: `release` then raises ValueError.

    What a process held that was killed is given back, whichever way it was taken.
    """
