"""Coroutine methods of a process."""

from __future__ import annotations

from polyproc._aio.loops import AioView, in_thread, readable
from polyproc._base.typing import Generic, TypeVar

T = TypeVar("T")


class AsyncProcess(AioView, Generic[T]):
    """A process. A task that is cancelled waits no more; the process goes on."""

    async def start(self) -> None:
        """Start the process. Raises as the process's `start`."""
        self._of.start()

    async def is_alive(self) -> bool:
        """Return whether the process runs."""
        found: bool = self._of.is_alive()
        return found

    async def interrupt(self) -> None:
        """Send SIGINT: KeyboardInterrupt is raised in its main thread."""
        self._of.interrupt()

    async def terminate(self) -> None:
        """Send SIGTERM; does not wait for the end."""
        self._of.terminate()

    async def kill(self) -> None:
        """Send SIGKILL; does not wait for the end."""
        self._of.kill()

    async def close(self) -> None:
        """Give back what the process object holds. Raises ValueError while the process runs."""
        self._of.close()

    async def join(self, timeout: float | None = None) -> None:
        """Wait for its end, up to `timeout` seconds."""
        self._of.join(0)  # raises what is to be raised
        if self._of.exitcode is None and await readable(self._of.sentinel, timeout):
            self._of.join()

    async def result(self, timeout: float | None = None) -> T:
        """Wait for its end, up to `timeout` seconds; return what the target returned, or raise what it raised."""
        await self.join(timeout)
        result: T = self._of.result(0)
        return result

    async def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for its end, up to `timeout` seconds; return what the target raised, or None."""
        await self.join(timeout)
        error: BaseException | None = self._of.exception(0)
        return error

    async def stop(self, grace: float = 5.0) -> int:
        """Interrupt, terminate, kill it and what it has started, each after `grace` seconds; return the exit code."""
        code: int = await in_thread(lambda: self._of.stop(grace), lambda: None)
        return code
