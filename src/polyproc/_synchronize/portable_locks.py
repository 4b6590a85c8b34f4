"""Lock, RLock, Semaphore and BoundedSemaphore, over a counter of tokens."""

from __future__ import annotations

import array
import errno
import os
import select
import sys
import threading
import time
from itertools import starmap
from types import TracebackType

from polyproc._base.modules import Remade, load, public, read, write
from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._pickling import sending
from polyproc._pickling.sending import live_fd
from polyproc._platform.handles import ONCE, HeldBack, due, ready
from polyproc._platform.posix import PROC, Capability, close_quietly, file_with, has
from polyproc._process.process import current_process
from polyproc._synchronize.predicate import SEM_VALUE_MAX, HeldByAio, checked_value

if TYPE_CHECKING:
    from polyproc._synchronize.async_locks import AsyncLock, AsyncRLock, AsyncSemaphore

# The portable semaphore: a counter in the kernel, reached by a descriptor.
#
# A pipe that holds one byte a token; for more tokens than a pipe is sure to take, an eventfd in semaphore mode
# (eventfd(2)). It has no name, passes to other processes as any descriptor does, and is gone with its last
# holder, whatever way its holders end. It does not know the holder of a token: one that a killed process held is lost.
# That is what the C core is for.


_MAX_IN_A_PIPE: int = getattr(select, "PIPE_BUF", 512)  # what every pipe takes at once
eventfd = Capability("eventfd2", has(os, "eventfd"))


def counter_of(value: int) -> TokenCounter:
    """Return a counter of tokens, of the kind that is to be had here."""
    if value > _MAX_IN_A_PIPE:
        if eventfd.may_work:
            try:
                return TokenCounter(value)
            except OSError as error:
                eventfd.note(error)
        make: Any = ManyTokens
        return make(value)  # type: ignore[no-any-return]
    return TokenCounter(value)


def token_of_lock() -> TokenCounter:
    """Return the one token of a lock."""
    return TokenCounter(1)


class TokenCounter:
    """A number that processes lower, waiting while it is zero, and raise."""

    def __init__(self, value: int, fds: tuple[int, int] | None = None) -> None:
        self._read_fd = self._write_fd = -1
        if fds is not None:
            self._read_fd, self._write_fd = fds
        elif value > _MAX_IN_A_PIPE:
            [self._read_fd] = map(os.eventfd, (value,), (os.EFD_SEMAPHORE | os.EFD_CLOEXEC | os.EFD_NONBLOCK,))
            self._write_fd = self._read_fd
        else:
            [(self._read_fd, self._write_fd)] = starmap(os.pipe, ONCE)  # one step: a Ctrl-C comes before or after it
            os.set_blocking(self._read_fd, False)
            os.set_blocking(self._write_fd, False)
            write(self._write_fd, b"." * value)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Lower the number by one; wait up to `timeout` seconds (None: without limit) while it is zero."""
        taken: list[bytes] = []
        try:
            if self._take(taken):
                return True
            if not block or (timeout is not None and timeout <= 0):
                return False
            deadline = None if timeout is None else due(timeout)
            while True:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return self._take(taken)
                ready([self._read_fd], left)
                if self._take(taken):
                    return True
        except BaseException:  # a Ctrl-C, perhaps behind the taking: the caller does not have it
            if taken:
                self.release()
            raise

    def _take(self, taken: list[bytes]) -> bool:
        """Lower the number by one if it is not zero; `taken` tells of it by the same step."""
        try:
            taken += starmap(read, ((self._read_fd, 8 if self._is_eventfd() else 1),))
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Raise the number by one. Raises OSError (EOVERFLOW) when the kernel holds no more, some 65,536 in a pipe."""
        try:
            write(self._write_fd, (1).to_bytes(8, sys.byteorder) if self._is_eventfd() else b".")
        except BlockingIOError:
            raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW)) from None

    def value(self) -> int:
        """Return the number as it is at this moment."""
        if not self._is_eventfd():
            return _pipe_length(self._read_fd)
        with open(f"{PROC}/self/fdinfo/{self._read_fd}", encoding="utf-8") as info:
            for line in info:
                if line.startswith("eventfd-count:"):
                    return int(line.split()[1], 16)
        raise NotImplementedError("this system does not tell the value of an eventfd")

    def fileno(self) -> int:
        """Return what can be read while the number is not zero."""
        return self._read_fd

    def clear(self) -> None:
        """Lower the number to zero, without waiting."""
        taken: list[bytes] = []
        while self._take(taken):
            pass

    def _is_eventfd(self) -> bool:
        return self._read_fd == self._write_fd

    def __reduce__(self) -> tuple[Any, ...]:
        if self._is_eventfd():
            return _rebuild_token, (sending.DupFd(self._read_fd), None)
        return _rebuild_token, (
            live_fd(self._read_fd, os.O_RDONLY | os.O_NONBLOCK, self),
            live_fd(self._write_fd, os.O_WRONLY | os.O_NONBLOCK, self),
        )

    def __del__(self) -> None:
        close_quietly(self._read_fd)
        if not self._is_eventfd():
            close_quietly(self._write_fd)


def _pipe_length(fd: int) -> int:
    length = array.array("i", [0])
    load("fcntl", "ioctl")(fd, load("termios", "FIONREAD"), length)  # type: ignore[operator]
    return length[0]


def _rebuild_token(read_fd: Any, write_fd: Any) -> TokenCounter:
    fd = read_fd.detach()
    return TokenCounter(0, (fd, fd if write_fd is None else write_fd.detach()))


# The portable semaphore of more tokens than a pipe is sure to take, where there is no eventfd.
#
# a number, in an anonymous file | a turn, for changes of it | a signal, that can be read while it is not zero
#
# A change may be broken off anywhere (a Ctrl-C): the signal can then be read though the number is zero, and whoever
# finds that puts it right; the other way round would have waiters sleep beside tokens.
#
#     up:    signal | number           down:    number | signal

_SIZE = 8


class ManyTokens:
    """A TokenCounter for any number of tokens."""

    def __init__(self, value: int, parts: tuple[int, TokenCounter, TokenCounter] | None = None) -> None:
        self._fd = -1
        if parts is None:
            with HeldBack():
                self._fd = file_with("polyproc-tokens", value.to_bytes(_SIZE, "little"))
            self._turn, self._signal = TokenCounter(1), TokenCounter(1 if value else 0)
        else:
            self._fd, self._turn, self._signal = parts

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Lower the number by one; wait up to `timeout` seconds (None: without limit) while it is zero."""
        deadline = None if timeout is None else due(timeout)
        taken: list[int] = []
        try:
            while not self._change(-1, taken):
                left = None if deadline is None else deadline - time.monotonic()
                if not block or (left is not None and left <= 0):
                    return False
                ready([self._signal.fileno()], left)
            return True
        except BaseException:  # a Ctrl-C, perhaps behind the taking: the caller does not have it
            if taken:
                self.release()
            raise

    def release(self) -> None:
        """Raise the number by one."""
        self._change(1, [])

    def value(self) -> int:
        """Return the number as it is at this moment."""
        return int.from_bytes(os.pread(self._fd, _SIZE, 0), "little")

    def _change(self, by: int, done: list[int]) -> bool:
        """Change the number, unless it would be less than zero; `done` tells of it by the same step."""
        turn: list[bool] = []
        try:
            turn += starmap(self._turn.acquire, ((),))
            before = self.value()
            after = before + by
            if before == 0:
                self._signal.clear()
                if after < 0:
                    return False
                self._signal.release()
            done += starmap(os.pwrite, ((self._fd, after.to_bytes(_SIZE, "little"), 0),))
            if after == 0:
                self._signal.clear()
            return True
        finally:
            if turn:
                write(self._turn._write_fd, b".")  # its `release`, but that no signal is heard before

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_tokens, (live_fd(self._fd, owner=self), self._turn, self._signal)

    def __del__(self) -> None:
        close_quietly(self._fd)


def _rebuild_tokens(fd: Any, turn: TokenCounter, signal: TokenCounter) -> ManyTokens:
    return ManyTokens(0, (fd.detach(), turn, signal))


def counter_of_many(value: int) -> ManyTokens:
    """Return a counter that may be raised to any number."""
    return ManyTokens(value)


RECURSIVE_MUTEX, SEMAPHORE = 0, 1
_CALLER = "the thread that called acquire() calls release()"
_NOT_OWNED = f"attempt to release recursive lock not owned by thread: {_CALLER}"
TOO_OFTEN = "semaphore or lock released too many times: each release() belongs to one acquire() before it"


class TokenLock(Remade, HeldByAio):
    """The base of the four: a counter, and which thread of this process holds it how often."""

    def __init__(self, kind: int, value: int, maxvalue: int, *, ctx: Any = None) -> None:
        self._kind = kind
        self._maxvalue = maxvalue
        self._tokens = self._new_tokens(checked_value(value))
        self._forget_holds()

    def _new_tokens(self, value: int) -> Any:
        return token_of_lock() if value == self._maxvalue == 1 else counter_of(value)

    def _forget_holds(self) -> None:
        self._count = 0
        self._holder: tuple[int, int] | None = None

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it; wait while others hold it, up to `timeout` seconds if given. Return whether it was taken."""
        if timeout is not None:
            due(timeout)  # what is no number is refused, also where nobody waits
        if self._kind == RECURSIVE_MUTEX and self._is_mine():
            self._count += 1
            return True
        taken = False
        try:
            taken = self._tokens.acquire(block, timeout)
            return self._note(taken)
        except BaseException:  # a Ctrl-C between the taking and the note of it: nobody would give it back
            if taken:
                self._tokens.release()
            raise

    def _note(self, taken: bool) -> bool:
        """Note that it was taken, if it was."""
        if not taken:
            return False
        self._taken()
        self._holder = (os.getpid(), threading.get_ident())
        self._count = self._count + 1 if self._kind == SEMAPHORE else 1
        return True

    def _taken(self) -> None:
        """Do nothing: where a token does not know its holder, there is nothing to tell."""

    def release(self) -> None:
        """Give it back."""
        if self._kind == RECURSIVE_MUTEX:
            if not self._is_mine():
                raise AssertionError(_NOT_OWNED)
            if self._count > 1:
                self._count -= 1
                return
            self._forget_holds()
        else:
            if self._maxvalue != SEM_VALUE_MAX and self._tokens.value() >= self._maxvalue:
                raise ValueError(TOO_OFTEN)
            self._count = max(self._count - 1, 0)
        self._tokens.release()

    def _is_mine(self) -> bool:
        return self._count > 0 and self._holder == (os.getpid(), threading.get_ident())

    def _get_value(self) -> int:
        return int(self._tokens.value())

    def _is_zero(self) -> bool:
        return self._get_value() == 0

    def locked(self) -> bool:
        """Return whether it cannot be taken at this moment."""
        return self._is_zero()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def __getstate__(self) -> dict[str, Any]:
        return {"_kind": self._kind, "_maxvalue": self._maxvalue, "_tokens": self._tokens}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_holds()

    def _describe(self) -> tuple[str, int | str]:
        """Return (the holder, how often) for repr."""
        if self._is_mine():
            name = current_process().name
            if threading.current_thread().name != "MainThread":
                name += "|" + threading.current_thread().name
            return name, self._count
        if self._tokens.value() == 1:
            return "None", 0
        if self._count > 0 and self._holder is not None and self._holder[0] == os.getpid():
            return "SomeOtherThread", "nonzero"
        return "SomeOtherProcess", "nonzero"


@public("synchronize")
class Semaphore(TokenLock):
    """A counter that `acquire` lowers, waiting while it is zero, and `release` raises."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        super().__init__(SEMAPHORE, value, SEM_VALUE_MAX, ctx=ctx)

    @property
    def aio(self) -> AsyncSemaphore:
        """The methods as coroutines, for asyncio and trio: `await semaphore.aio.acquire(timeout=1)`."""
        from polyproc._synchronize.async_locks import AsyncSemaphore

        return AsyncSemaphore(self)

    def get_value(self) -> int:
        """Return the counter as it is at this moment."""
        return self._get_value()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self._get_value()})>"


@public("synchronize")
class BoundedSemaphore(Semaphore):
    """A semaphore whose counter never gets above its first value: `release` then raises ValueError."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        TokenLock.__init__(self, SEMAPHORE, value, value, ctx=ctx)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self._get_value()}, maxvalue={self._maxvalue})>"


class InnerSemaphore(Semaphore):
    """A semaphore whose tokens are messages: those of a killed process are never given back."""


class ItemCounter(InnerSemaphore):
    """An inner semaphore that may be raised to any number."""

    def _new_tokens(self, value: int) -> Any:
        return counter_of_many(value)


@public("synchronize")
class Lock(TokenLock):
    """A lock. Any process or thread may release it."""

    def __init__(self, *, ctx: Any = None) -> None:
        super().__init__(SEMAPHORE, 1, 1, ctx=ctx)

    @property
    def aio(self) -> AsyncLock:
        """The methods as coroutines, for asyncio and trio: `await lock.aio.acquire(timeout=1)`."""
        from polyproc._synchronize.async_locks import AsyncLock

        return AsyncLock(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={self._describe()[0]})>"


class InnerLock(Lock):
    """A lock within something that bears that its holder is killed: nobody is warned."""


@public("synchronize")
class RLock(TokenLock):
    """A lock that its holder may take again; it must release it as often, and nobody else may."""

    def __init__(self, *, ctx: Any = None) -> None:
        super().__init__(RECURSIVE_MUTEX, 1, 1, ctx=ctx)

    @property
    def aio(self) -> AsyncRLock:
        """The methods as coroutines, for asyncio and trio: `await lock.aio.acquire(timeout=1)`."""
        from polyproc._synchronize.async_locks import AsyncRLock

        return AsyncRLock(self)

    def __repr__(self) -> str:
        owner, count = self._describe()
        return f"<{type(self).__name__}({owner}, {count})>"
