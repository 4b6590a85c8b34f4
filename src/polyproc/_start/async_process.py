"""Coroutine methods of a process."""

from __future__ import annotations

from polyproc._aio.loops import AioView, in_thread, readable
from polyproc._base.typing import Any


class AsyncProcess(AioView):
    """A process. Who is cancelled waits no more; the process goes on."""

    async def join(self, timeout: float | None = None) -> None:
        """Wait for its end, up to `timeout` seconds."""
        self._of.join(0)  # raises what is to be raised
        if self._of.exitcode is None and await readable(self._of.sentinel, timeout):
            self._of.join()

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for its end, up to `timeout` seconds; return what the target returned, or raise what it raised."""
        await self.join(timeout)
        return self._of.result(0)

    async def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for its end, up to `timeout` seconds; return what the target raised, or None."""
        await self.join(timeout)
        error: BaseException | None = self._of.exception(0)
        return error

    async def stop(self, grace: float = 5.0) -> int:
        """Interrupt, terminate, kill it and what it has started, each after `grace` seconds; return the exit code."""
        code: int = await in_thread(lambda: self._of.stop(grace), lambda: None)
        return code
