"""The ports: what a launcher gives back. Protocols, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from polyproc._base.errors import ProcessDied

__all__ = ["ChildHandle", "Spawning"]


class Spawning(Protocol):
    """A child under construction, as the pickler sees it."""

    method: str

    def duplicate_for_child(self, fd: int) -> int:
        """Pass `fd` to the child; return the number by which it finds it."""

    def DupFd(self, fd: int) -> object:
        """Return an object to pickle for what `duplicate_for_child` returned: its `detach()` gives the descriptor."""


class ChildHandle(Protocol):
    """A started child, as its parent holds it."""

    method: str
    pid: int
    sentinel: int

    @property
    def returncode(self) -> int | None:
        """The exit code, None before it is known."""

    def poll(self) -> int | None:
        """Return the exit code if the child has ended, without waiting."""

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait up to `timeout` seconds; return the exit code, or None if it still runs."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def interrupt(self) -> None:
        """Send SIGINT."""

    def signal(self, signum: int) -> None:
        """Send a signal; nothing happens if the child has ended."""

    def outcome(self) -> tuple[bool, object]:
        """Return (True, what the child returned) or (False, the exception it raised or ProcessDied)."""

    def died(self) -> ProcessDied:
        """Describe how the child ended."""

    def close(self) -> None:
        """Give back what the handle holds; the child must have ended."""
