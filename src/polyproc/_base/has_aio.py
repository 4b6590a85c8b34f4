"""`async with`, for what has coroutine methods under `aio`: these are loaded at its first use."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Protocol

    class _EntersAsync(Protocol):
        async def __aenter__(self) -> bool: ...
        async def __aexit__(self, *error: object) -> None: ...


class HeldByAio:
    """An object with coroutine methods that can also be held by `async with`."""

    if TYPE_CHECKING:

        @property
        def aio(self) -> _EntersAsync:
            """The methods as coroutines."""
            ...

    async def __aenter__(self) -> bool:
        return await self.aio.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self.aio.__aexit__(*error)
