"""Sentinels: descriptors that become readable when a process has ended; signals; waiting for descriptors; trees."""

from __future__ import annotations

import _signal
import errno
import os
import select
import sys
import time
from _frozen_importlib import module_from_spec
from _thread import RLock
from itertools import starmap
from time import monotonic

from polyproc._base.modules import load, loaded, read, said, write
from polyproc._platform.posix import LINUX, PROC, Capability, LongLived, close_quietly, has

TYPE_CHECKING = False  # a parent that only forks loads this: each forked child would pay for `typing`

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import Thread
    from types import ModuleType
    from typing import Any


# Waits in interpreters that gevent or eventlet has patched: a thread that waits lets its other greenlets run.
#
# Such a library replaces functions of the standard library, before or after we are imported, by some that switch to
# another greenlet. A wait of ours uses none of them. It asks here whether the thread that waits has other greenlets.
# Where it has, it looks, lets them run for a moment, looks again, and so on: less and less often, at last 100 times a
# second. Where it has none, it waits in the kernel, by the interpreter's own functions (`own_module`). Our threads and
# their locks are what `threading` makes, so greenlets where that is patched; they wait as all others do.


# With any of them patched, a program relies on greenlets that go on while others wait.
_PATCHED = ("threading", "thread", "time", "select", "socket", "os")
_FIRST_TICK, _LAST_TICK = 0.0001, 0.01  # seconds


def may_switch() -> bool:
    """Return whether such a library is there at all: else all that is asked here costs next to nothing."""
    return "gevent.monkey" in sys.modules or "eventlet.patcher" in sys.modules


def _gevents_sleep(monkey: Any) -> Any:
    if not any(map(monkey.is_module_patched, _PATCHED)):
        return None
    hub = sys.modules["gevent._hub_local"].get_hub_if_exists()  # one for each thread
    if hub is None or sys.modules["greenlet"].getcurrent() is hub:
        return None
    return sys.modules["gevent"].sleep


def _eventlets_sleep(patcher: Any) -> Any:
    if not any(map(patcher.is_monkey_patched, _PATCHED)):
        return None
    hub = getattr(sys.modules["eventlet.hubs"]._threadlocal, "hub", None)
    if hub is None or sys.modules["greenlet"].getcurrent() is hub.greenlet:
        return None
    return sys.modules["eventlet.greenthread"].sleep


def _sleep() -> Any:
    """Return what lets the other greenlets of this thread run for some seconds; None where there are none."""
    monkey = loaded("gevent.monkey")
    sleep = None if monkey is None else _gevents_sleep(monkey)
    if sleep is None:
        patcher = loaded("eventlet.patcher")
        sleep = None if patcher is None else _eventlets_sleep(patcher)
    return sleep


def let_run(turns: int, left: float = -1.0) -> bool:
    """Run the other greenlets of this thread; return False if there are none, so that one may wait in the kernel.

    Args:
        turns: how often that was done in this wait: what makes the moment longer.
        left: the seconds that the wait may still take; negative for no limit.
    """
    sleep = _sleep()
    if sleep is None:
        return False
    seconds = min(_FIRST_TICK * 2 ** min(turns - 1, 10), _LAST_TICK) if turns else 0.0
    sleep(min(seconds, left) if left >= 0 else seconds)
    return True


# What a forked child has of its parent's greenlets, kept: one that is freed is woken to end, and would do what is its
# parent's to do.
_left: list[object] = []


def after_fork_in_child() -> None:
    """In a forked child of ours: hear Ctrl-C; leave the copies of greenlets, which must not run a second time."""
    if held_back:
        hold_back_no_more()
    if loaded("gevent") is not None:
        _leave_gevents()
    hubs: Any = loaded("eventlet.hubs")
    hub = None if hubs is None else getattr(hubs._threadlocal, "hub", None)
    if hub is not None:
        _left.append(hub)
        hubs.use_hub()
        _forget_threads()


def _forget_threads() -> None:
    """Do what `threading` does after a fork, and eventlet has it not do: only the thread that forked is there."""
    threading: Any = loaded("threading")
    current = threading.get_ident()
    for ident in [ident for ident in threading._active if ident != current]:
        del threading._active[ident]
    for names in (vars(threading), threading._shutdown.__globals__):  # a copy of the module, from which that was taken
        names.get("_shutdown_locks", set()).clear()  # up to 3.12


def _leave_gevents() -> None:
    gevent: Any = sys.modules["gevent"]
    hub = sys.modules["gevent._hub_local"].get_hub_if_exists()
    if hub is None:
        return
    current = sys.modules["greenlet"].getcurrent()
    gevent.reinit(hub)  # before its descriptors are closed, which the parent's loop has, too
    _left.extend([hub, hub.loop, list(getattr(hub.loop, "_callbacks", None) or ())])
    if hub.parent is not current:  # to destroy a hub is to go on in its parent: in the main greenlet's copy
        current.parent = hub.parent
        hub.parent = current
    hub.destroy(destroy_loop=True)  # another is made when somebody needs one


class Local:
    """Fields of the thread that calls this; of its greenlet, once a library has replaced `threading.local`.

    What is made of `threading.local` at an import keeps to threads when a program patches afterwards.
    """

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self._kind: Any = None
        load("threading", "local")  # whoever makes one may be yet to import it (PEP 810)
        self()

    def __call__(self) -> Any:
        kind = sys.modules["threading"].local
        if kind is not self._kind:
            self._own: Any = type("Fields", (kind,), dict(self._fields))()
            self._kind = kind
        return self._own


def own_module(name: str) -> ModuleType:
    """Return a module of the interpreter's, written in C, as it was before anybody replaced what is in it."""
    spec = sys.modules[name].__spec__ if name in sys.modules else __import__(name).__spec__
    assert spec is not None and spec.loader is not None  # it is part of every interpreter
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# On Windows, windows_handles.py puts its own in place of all that waits.
POLLIN: int = getattr(select, "POLLIN", 1)
POLLOUT: int = getattr(select, "POLLOUT", 4)
PIPE_BUF: int = getattr(select, "PIPE_BUF", 4096)
GONE: int = getattr(select, "POLLHUP", 16) | getattr(select, "POLLRDHUP", 0)  # the other end is closed

# poll(2) takes an int of milliseconds; longer waits are made of several.
_LONGEST_POLL = 1_000_000.0
_NEVER = float("inf")  # `math` would be a file to load, in each program

# `[*starmap(call, ONCE)]` is one instruction: a Ctrl-C comes before the call, or when its result has been stored.
ONCE = ((),)

# The same for a lock's `acquire` that does not wait: `turn = [*starmap(lock.acquire, AT_ONCE)]`, and then `try`.
AT_ONCE = ((False,),)
_TO_BEGIN = 0.5  # seconds that a thread which was made has to begin
_INSISTS_AFTER = 0.25  # seconds behind the first Ctrl-C: a later one is not of the same key

# What holds it back now: a child that is forked meanwhile has to hear it.
held_back: list[HeldBack] = []


class HeldBack:
    """Ctrl-C waits while something is made, or ended, until it is somebody's; a second one does not.

    A mask of signals is not enough: the interpreter hears them by any thread, and then raises in the main one. It does
    nothing in other threads, nor where the program has no handler of its own, or it is held back already.
    """

    __slots__ = ("_came_at", "_frame", "_handler", "_is_noted")

    def __init__(self) -> None:
        self._handler: Any = None
        self._came_at, self._is_noted = _NEVER, False
        self._frame: Any = None

    def __enter__(self) -> None:
        handler: Any = None if may_switch() else _signal.getsignal(_signal.SIGINT)  # greenlets would not end in turn
        if callable(handler) and type(getattr(handler, "__self__", None)) is not HeldBack:
            self._handler = handler
            try:
                _signal.signal(_signal.SIGINT, self._note)
                held_back.append(self)
            except ValueError:  # in another thread
                self._handler = None

    def _note(self, signum: int, frame: Any) -> None:
        now = monotonic()
        # Raised in `__exit__` it would keep the program's handler from coming back; that calls it a moment later.
        if now > self._came_at + _INSISTS_AFTER and getattr(frame, "f_code", None) is not HeldBack.__exit__.__code__:
            self._pass_on(signum, frame)
        else:
            self._came_at, self._frame, self._is_noted = min(now, self._came_at), frame, True

    def __exit__(self, *exc: object) -> None:
        if self._handler is not None:
            if self in held_back:  # not in a child, which has let go of it
                held_back.remove(self)
            _signal.signal(_signal.SIGINT, self._handler)
            if self._is_noted:
                self._pass_on(_signal.SIGINT, self._frame)

    def _pass_on(self, signum: int, frame: Any) -> None:
        self._came_at, self._frame, self._is_noted = monotonic(), None, False
        self._handler(signum, frame)


class Heard:
    """Ctrl-C is heard in the middle of what holds it back: here it waits, or runs code of the user's.

    It is held back again from the one on that raises: what is made is ended because of that.
    """

    __slots__ = ("_held_back",)

    def __init__(self) -> None:
        held_back = getattr(_signal.getsignal(_signal.SIGINT), "__self__", None)
        self._held_back: Any = held_back if type(held_back) is HeldBack else None

    def __enter__(self) -> None:
        held_back = self._held_back
        if held_back is not None:
            try:
                _signal.signal(_signal.SIGINT, self._hear)
            except ValueError:  # in another thread
                self._held_back = None
            else:
                if held_back._is_noted:
                    self._hear(_signal.SIGINT, held_back._frame)

    def _hear(self, signum: int, frame: Any) -> None:
        _signal.signal(_signal.SIGINT, self._held_back._note)
        self._held_back._pass_on(signum, frame)
        _signal.signal(_signal.SIGINT, self._hear)  # the program's handler has raised nothing

    def __exit__(self, *exc: object) -> None:
        if self._held_back is not None:
            _signal.signal(_signal.SIGINT, self._held_back._note)


def hold_back_no_more() -> None:
    """In a child that was forked in the middle: what came was its parent's."""
    while held_back:
        one = held_back.pop()
        one._is_noted = False
        _signal.signal(_signal.SIGINT, one._handler)


pidfd = Capability("pidfd_open", has(os, "pidfd_open"))
pidfd_signal = Capability("pidfd_send_signal", has(_signal, "pidfd_send_signal"))


def due(timeout: float) -> float:
    """Return the monotonic time at which a wait of `timeout` seconds ends. Raises TypeError for what is no number."""
    try:
        return monotonic() + timeout
    except TypeError:
        raise said("not_seconds", timeout) from None


def most_descriptors() -> int:
    """Return how many descriptors this process may have at once."""
    most = os.sysconf("SC_OPEN_MAX")
    return most if most > 0 else 1 << 20


def has_pidfds() -> bool:
    """Return whether processes can be held by pidfds; where not, children are watched by `_process/ends.py`."""
    if pidfd.may_work and not pidfd.has_worked:
        close_quietly(open_pidfd(os.getpid()))
    return pidfd.may_work


def open_pidfd(pid: int) -> int:
    """Return a pidfd (pidfd_open(2)) of `pid`; -1 where there are none, or if it has ended and was reaped."""
    if pidfd.may_work:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return -1
        except OSError as error:
            pidfd.note(error)
            return -1
        pidfd.has_worked = True
        return fd
    return -1


def started_at(pid: int) -> str:
    """Return when a process was started, as a number, "" if it is not there or no more than a zombie.

    With its number it names a process for sure, where there are no pidfds; between a look and a signal it may end.
    """
    if not LINUX:
        from polyproc._platform.processes import started_at

        return str(started_at(pid))
    try:
        with open(f"{PROC}/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:  # it has ended
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def is_start(one: str, other: str) -> bool:
    """Return whether two such counts are of one start; what is told in seconds wavers by one."""
    return one == other or (not LINUX and bool(one and other) and abs(int(one) - int(other)) <= 1)


def ended_sentinel() -> int:
    """Return a descriptor that is readable at once: the sentinel of a process that has ended."""
    read_fd, write_fd = os.pipe()
    os.close(write_fd)
    return read_fd


def send_signal(fd: int, pid: int, signum: int) -> None:
    """Send a signal to the process that a pidfd stands for; where that cannot be, to its number.

    Raises:
        ProcessLookupError: it has ended. PermissionError: it is another user's.
    """
    if fd >= 0 and pidfd_signal.may_work:
        try:
            _signal.pidfd_send_signal(fd, signum)
            return
        except ProcessLookupError:
            raise
        except OSError as error:
            if error.errno == errno.ENOSYS:
                pidfd_signal.note(error)
            elif error.errno not in (errno.EPERM, errno.EBADF):  # a filter, or another user's; a pipe
                raise
    os.kill(pid, signum)


# Others may have replaced or removed it, as gevent and eventlet do.
_has_poll = type(getattr(select, "poll", None)) is type(len)
new_poll: Any = getattr(select if _has_poll else own_module("select"), "poll", None)


def ready(fds: Sequence[int], timeout: float | None, events: int = POLLIN) -> list[int]:
    """Wait until at least one of `fds` is readable, hung up or broken; return those that are.

    Args:
        fds: descriptors.
        timeout: seconds on the monotonic clock; None waits without limit, zero or less does not wait.
        events: what to wait for, as for poll(2).

    A signal handler may run during the wait, which then goes on; what the handler raises comes through.
    """
    poller = new_poll()
    for fd in fds:
        poller.register(fd, events)
    return [fd for fd, _ in poll(poller, timeout)]


def poll(poller: select.poll, timeout: float | None) -> list[tuple[int, int]]:
    """Poll what is registered, up to `timeout` seconds, as `ready` does; return the descriptors and what they are."""
    deadline = _NEVER if timeout is None else due(timeout)
    if may_switch() and (timeout is None or timeout > 0):
        found = _poll_between_greenlets(poller, deadline)
        if found is not None:
            return found
    if timeout is None or timeout == _NEVER:
        return poller.poll()
    left = max(timeout, 0.0)
    while True:
        found = poller.poll(int(-(min(left, _LONGEST_POLL) * -1000 // 1)))
        left = deadline - time.monotonic()
        if found or left <= 0:
            return found


def pause(seconds: float) -> None:
    """Sleep, whatever somebody has put in place of time.sleep."""
    poll(new_poll(), seconds)


def start_thread(thread: Thread) -> None:
    """Start a thread, unless it was started. If a Ctrl-C comes meanwhile it may run or not, and `ident` says which."""
    if thread.ident is not None:
        return
    try:
        thread.start()
    except RuntimeError:  # there can be no more
        raise
    except BaseException:
        until = monotonic() + _TO_BEGIN
        while thread.ident is None and monotonic() < until:  # it may have been made, and come to life in a moment
            pause(0.001)
        raise


def is_held(lock: Any) -> bool:
    """Return whether a thread, this one too, holds an RLock now."""
    if lock._is_owned():
        return True
    turn = [*starmap(lock.acquire, AT_ONCE)]
    try:
        return not turn[0]
    finally:
        if turn[0]:
            lock.release()


def _poll_between_greenlets(poller: select.poll, deadline: float) -> list[tuple[int, int]] | None:
    """Poll while other greenlets run; return None where this thread has none."""
    turns = 0
    while True:
        found = poller.poll(0)
        left = deadline - time.monotonic()
        if found or left <= 0:
            return found
        if not let_run(turns, left if left < _LONGEST_POLL else -1.0):
            return None
        turns += 1


class WakePipe:
    """A descriptor, `fd`, that one thread waits for among others, and that other threads make readable.

    Its end is a flag and a last byte, and not the end of the pipe, which forked children keep open.
    """

    _made: Sequence[tuple[int, int]] = ()  # descriptors that are nobody's yet
    fd = -1

    def __init__(self) -> None:
        # Of the writing end; a handler of signals, or a finalizer, may come to wake it in the middle of a call.
        self._lock = RLock()  # not threading's, which a parent that forks does without
        self.ended = False  # then nobody can wake it any more
        self._reader, self._writer = LongLived(), LongLived()
        self._made = [*starmap(os.pipe, ONCE)]  # known from the first moment, for `__del__`
        for end, fd in zip((self._reader, self._writer), self._made[0], strict=True):
            end.take(fd)
        self._made = ()
        self.fd = self._reader.fd
        os.set_blocking(self._writer.fd, False)

    def wake(self) -> None:
        """Make it readable, unless it has ended."""
        with self._lock:
            if not self.ended:
                self._make_readable()

    def _make_readable(self) -> None:
        try:
            write(self._writer.fd, b".")
        except BlockingIOError:  # it is readable enough
            pass

    def drain(self) -> bool:
        """In the thread that waits, when it is readable: take note; return False at the end."""
        read(self.fd, 65536)
        return not self.ended

    def end(self) -> None:
        """Mark as closed and wake the waiting threads."""
        with self._lock:
            if not self.ended:
                self.ended = True
                self._make_readable()

    def close(self) -> None:
        """End it, and give the descriptor back: nobody waits any more."""
        self.end()
        self.fd = -1
        self._reader.close()
        self._writer.close()

    def __del__(self) -> None:
        # A Ctrl-C may have come before anybody could be told of it.
        if globals().get("close_quietly") is None:  # the interpreter has taken this module apart: it is at its end
            return
        if self._made:
            close_quietly(*self._made[0])
        elif self.fd >= 0:
            self._reader.close()
            self._writer.close()


_SIGKILL = 9
_SIGSTOP = int(getattr(_signal, "SIGSTOP", 0))  # 0 where there is none


def tree_of(child: Any) -> Tree:
    """Return a child and its descendants, wherever they are: a child on another host knows of its own."""
    tree: Tree = child.tree() if hasattr(child, "tree") else Tree(child.pid)
    return tree


class Tree:
    """A process and its descendants, each held by a pidfd: no signal reaches a process that got an old number.

    Where there are no pidfds they are held by when they started. Left out is who left it on purpose (a double fork),
    and who cannot be held for lack of descriptors.
    """

    def __init__(self, root: int) -> None:
        self._held: dict[int, tuple[int, str]] = {}  # pid -> its pidfd and "", or -1 and when it started
        self._hold(root)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *exc: object) -> None:
        close_quietly(*(fd for fd, _ in self._held.values()))
        self._held.clear()

    def look(self) -> None:
        """Remember the processes that are there now."""
        queue = list(self._held)
        while queue:
            queue += self._hold_children(queue.pop())

    def kill(self) -> None:
        """Kill all: freeze each, so that it starts no other, look for its children, until no new one is found."""
        queue = list(self._held)
        while queue:
            pid = queue.pop()
            if self._send(pid, _SIGSTOP):
                queue += self._hold_children(pid)
        for pid in self._held:
            self._send(pid, _SIGKILL)

    def _hold_children(self, parent: int) -> list[int]:
        """Hold the children of a process that is held; return those that are new.

        A number is believed when both its process and its parent are still there once it is held: a process that has
        ended may have left its number to another.
        """
        new = [pid for pid in children_of(parent) if self._hold(pid)]
        there = children_of(parent) if new and self._send(parent, 0) else []
        for pid in new:
            if pid not in there:
                close_quietly(self._held.pop(pid)[0])
        return [pid for pid in new if pid in there]

    def _hold(self, pid: int) -> bool:
        """Open a process; return whether it is a new one."""
        if pid in self._held:
            return False
        try:
            fd = open_pidfd(pid)
        except OSError:  # whoever has the root's handle still can end that
            return False
        start = "" if fd >= 0 or has_pidfds() else started_at(pid)
        self._held |= {pid: (fd, start)} if fd >= 0 or start else {}
        return pid in self._held

    def _send(self, pid: int, signum: int) -> bool:
        """Send a signal; return whether the process was there, if only as a zombie."""
        fd, start = self._held[pid]
        try:
            if fd < 0 and not is_start(started_at(pid), start):
                return False
            send_signal(fd, pid, signum)
        except ProcessLookupError:
            return False
        return True


def children_of(pid: int) -> list[int]:
    """Return the children of a process, as the system tells them; none where it does not."""
    if not LINUX:
        from polyproc._platform.processes import table

        return [child for child, row in table().items() if row.parent == pid]
    found = []
    try:
        for task in os.listdir(f"{PROC}/{pid}/task"):
            with open(f"{PROC}/{pid}/task/{task}/children", encoding="utf-8") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:  # it has ended, or there is no such file here
        pass
    return found
