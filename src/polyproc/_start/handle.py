"""A handle to a process of the family that is not our child: what a process object becomes when it is sent."""

from __future__ import annotations

import _signal as signal  # `signal` makes enumerations of it
import os

from polyproc._base.errors import ProcessDied
from polyproc._base.typing import Any
from polyproc._pickling.sending import sent_fds
from polyproc._platform.handles import ready, send_signal
from polyproc._platform.posix import close_quietly


class ProcessHandle:
    """Watches and signals a process that another process has started.

    It names the process for sure, also when its id has been given to another: by a pidfd (pidfd_open(2)) where there
    are such. Only its parent knows its exit code and its result.
    """

    def __init__(self, pid: int, name: str, sentinel: int) -> None:
        self.pid = self.ident = pid
        self.name = name
        self.sentinel = sentinel
        self._close = close_quietly

    def is_alive(self) -> bool:
        """Return whether it runs."""
        return not ready([self.sentinel], 0)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, at most `timeout` seconds; return whether it has."""
        return bool(ready([self.sentinel], timeout))

    def terminate(self) -> None:
        """Send SIGTERM; nothing happens if it has ended."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL; nothing happens if it has ended."""
        self._signal(signal.SIGKILL)

    def interrupt(self) -> None:
        """Send SIGINT; nothing happens if it has ended."""
        self._signal(signal.SIGINT)

    def _signal(self, number: int) -> None:
        if not self.is_alive():
            return
        try:
            send_signal(self.sentinel, self.pid, number)
            if number in (signal.SIGINT, signal.SIGTERM):  # which a stopped process would not see
                send_signal(self.sentinel, self.pid, signal.SIGCONT)
        except ProcessLookupError:  # it ended meanwhile
            pass

    def __reduce__(self) -> tuple[Any, ...]:
        return arrive, (self.pid, self.name, sent_fds(self.sentinel))

    def __del__(self) -> None:
        self._close(self.sentinel)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name!r} pid={self.pid} {'alive' if self.is_alive() else 'ended'}>"


def reduce(process: Any) -> tuple[Any, ...]:
    """Describe a started process object. Raises TypeError for one on another host: a descriptor names none there."""
    if getattr(process._popen, "host", None) is not None:
        host, engine = process._popen.host, process._popen.method
        raise TypeError(
            f"{process.name} is on the host {host!r}: the engine {engine!r} cannot send its handle elsewhere"
        )
    return arrive, (process.pid, process.name, sent_fds(process.sentinel))


def arrive(pid: int, name: str, sent: Any) -> ProcessHandle:
    """Make the handle in the process that receives it."""
    [sentinel] = sent.detach()
    return ProcessHandle(pid, name, sentinel)


# Another's way to start processes: what its handles lack of what ours have.


class ForeignChild:
    """A child that another's launcher has started: its handle need only have `poll`, `wait`, `terminate` and `kill`."""

    def __init__(self, popen: Any) -> None:
        self._popen = popen
        self.method = getattr(popen, "method", "")
        self.pid: int = getattr(popen, "pid", -1)
        self.sentinel: int = getattr(popen, "sentinel", -1)
        self.poll, self.wait, self.terminate, self.kill = popen.poll, popen.wait, popen.terminate, popen.kill

    @property
    def returncode(self) -> int | None:
        """The exit code if the child has ended."""
        code: int | None = self.poll()
        return code

    def interrupt(self) -> None:
        """Send SIGINT."""
        self.signal(signal.SIGINT)

    def signal(self, signum: int) -> None:
        """Send a signal, in the launcher's way if it has one; nothing happens if the child has ended."""
        names: dict[int, str] = {signal.SIGTERM: "terminate", signal.SIGKILL: "kill", signal.SIGINT: "interrupt"}
        name = names.get(signum, "")
        if self.poll() is not None:
            return
        if hasattr(self._popen, name):
            getattr(self._popen, name)()
        elif self.pid > 0:  # not reaped: the pid is its own
            try:
                os.kill(self.pid, signum)
            except ProcessLookupError:
                pass

    def died(self) -> ProcessDied:
        """Describe how the child ended."""
        code = self.poll()
        try:
            from signal import Signals

            by_signal = Signals(-code) if code is not None and code < 0 else None
        except ValueError:  # a real-time signal has no name
            by_signal = None
        return ProcessDied(self.pid, code, signal=by_signal)

    def outcome(self) -> tuple[bool, Any]:
        """Return (False, how it ended): nobody brings what its target returned or raised."""
        if self.poll() != 0:
            return False, self.died()
        name = f"{type(self._popen).__module__}.{type(self._popen).__qualname__}"
        return False, RuntimeError(f"the process ended well, but its launcher, {name}, brings no results")

    def close(self) -> None:
        """Give back what the launcher's handle holds, if it can."""
        close = getattr(self._popen, "close", None)
        if close is not None:
            close()
