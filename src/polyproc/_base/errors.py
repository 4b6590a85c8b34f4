"""Every exception and warning of polyproc.

    Exception
    └── ProcessError
        ├── BufferTooShort          a message is larger than the buffer for it; carries the message
        ├── AuthenticationError     the other side did not prove that it knows the key
        ├── TimeoutError            also the built-in TimeoutError
        └── ProcessDied             a process ended without giving the result that was waited for
    RemoteTraceback                 the `__cause__` of an exception that was raised in another process
    RemoteError                     stands for an exception that could not be brought over
    RuntimeWarning
    └── OwnerDiedWarning            a lock came from an owner that died

`ProcessDied` says how it ended: `pid`, `exitcode`, `signal`, `reason`, the last `output`, the Python `stack`.
"""

from __future__ import annotations

import builtins
import sys

from polyproc._base.modules import load, public

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    import signal as signal_module
    from typing import Any


@public("")
class ProcessError(Exception):
    """Base of the exceptions of this library."""


@public("")
class BufferTooShort(ProcessError):
    """A message is larger than the buffer it should go to; the message is `args[0]`."""


@public("")
class AuthenticationError(ProcessError):
    """The other side did not prove that it knows the authentication key."""


@public("")
class TimeoutError(ProcessError, builtins.TimeoutError):
    """A wait ended before what was waited for came."""


@public("")
class ProcessDied(ProcessError):
    """A process ended without giving the result that was waited for.

    Attributes:
        pid: the process.
        exitcode: as `Process.exitcode`; negative for a signal.
        signal: the signal that ended it, or None.
        reason: "exit", "signal", "host lost", "preempted" (its node was to be vacated), or "oom": SIGKILL, not by
            us, and the kernel counts one more process of its control group (cgroups(7); without such, of the system)
            as killed for lack of memory. It does not say which.
        output: the last lines that it wrote to its standard streams, as far as they were kept.
        stack: the Python stack at a fatal signal (from `faulthandler`), or None.
        task: what it was doing, where that is known.
        host: the node that it was on, by its engine's name for it; None for this host.
    """

    def __init__(  # noqa: PLR0913  (one for each attribute)
        self,
        pid: int,
        exitcode: int | None,
        *,
        name: str = "process",
        signal: signal_module.Signals | None = None,
        output: str = "",
        stack: str | None = None,
        task: str | None = None,
        reason: str | None = None,
        host: str | None = None,
    ) -> None:
        self.pid = pid
        self.exitcode = exitcode
        self.name = name
        self.signal = signal
        self.reason: str = reason or ("exit" if signal is None else "signal")
        self.output = output
        self.stack = stack
        self.task = task
        self.host = host
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        how = f"was killed by {self.signal.name}" if self.signal is not None else f"exited with code {self.exitcode}"
        if self.reason == "oom":
            how += " (the kernel counts a kill for lack of memory)"
        elif self.reason == "host lost":
            how = "was lost with its host"
        elif self.reason == "preempted":
            how += " (its node was to be vacated)"
        where = f"pid {self.pid}" if self.host is None else f"pid {self.pid} on {self.host}"
        text = f"{self.name} ({where}) {how} without a result"
        if self.task:
            text += f" while it ran {self.task}"
        if self.stack:
            text += f"\n\nits stack:\n{self.stack.rstrip()}"
        if self.output:
            text += f"\n\nits last output:\n{self.output.rstrip()}"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_process_died, (type(self), self.pid, self.exitcode, self.__dict__))


def _rebuild_process_died(
    kind: type[ProcessDied], pid: int, exitcode: int | None, state: dict[str, object]
) -> ProcessDied:
    died = kind(pid, exitcode)
    died.__dict__.update(state)
    died.args = (died._sentence(),)
    return died


@public("pool")
class RemoteTraceback(Exception):
    """The traceback, as text, of an exception that was raised in another process."""

    def __init__(self, tb: str) -> None:
        super().__init__(tb)
        self.tb = tb

    def __str__(self) -> str:
        return self.tb


@public("")
class RemoteError(Exception):
    """Stands for an exception that could not be brought over: its type's name, and its traceback as text."""

    def __str__(self) -> str:
        line = "-" * 75
        return "\n" + line + "\n" + str(self.args[-1]) + line


@public("")
class OwnerDiedWarning(RuntimeWarning):
    """A lock or semaphore was taken over from a process that died with it: what it guards may be half done."""


def report(what: str) -> None:
    """Write the traceback of the error that is being dealt with to standard error, if there is one."""
    try:
        sys.stderr.write(f"{what}:\n{load('traceback', 'format_exc')()}")  # type: ignore[operator]
    except BaseException:  # noqa: BLE001  (none, a broken one, or an error that cannot be shown)
        pass


_ROOM = 80  # calls within each other that what must not be broken off may take
_COUNTS_CALLS_OF_C = sys.version_info[:2] < (3, 12)
_nested: Any = int
for _ in range(_ROOM):
    _nested = (_nested,)


def has_room() -> bool:
    """Return whether enough of the stack is left for what must not be broken off in the middle."""
    try:
        if _COUNTS_CALLS_OF_C:
            return isinstance(0, _nested)
        sys._getframe(sys.getrecursionlimit() - _ROOM)
    except RecursionError:
        return False
    except ValueError:  # there are not so many
        return True
    return False
