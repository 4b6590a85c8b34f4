"""Another's way to start processes: what its handles lack of what ours have."""

from __future__ import annotations

import os
import signal

from polyproc._errors import ProcessDied
from polyproc._typing import Any


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
            by_signal = signal.Signals(-code) if code is not None and code < 0 else None
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
