"""The attribute `aio`. The coroutine methods are loaded at its first use: a child pays for this alone."""

from __future__ import annotations

from polyproc._base.modules import load

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, ClassVar


class HasAio:
    """An object with coroutine methods under `aio`; `_aio_class` is the module and the name of their class."""

    _aio_class: ClassVar[tuple[str, str]]

    @property
    def aio(self) -> Any:
        """The methods as coroutines, for asyncio and trio: `await x.aio.wait()`."""
        return load(*self._aio_class)(self)  # type: ignore[operator]


class HeldByAio(HasAio):
    """An object with coroutine methods that can also be held by `async with`."""

    async def __aenter__(self) -> Any:
        return await self.aio.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self.aio.__aexit__(*error)
