"""What a child that is a copy of its parent has already, and need not be sent: it may be what cannot be pickled."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from polyproc._pickling.spawning import current

T = TypeVar("T")


class Held:
    """What this process keeps for its copies. One instance, `held`."""

    def __init__(self) -> None:
        self.kept: Kept[Any] | None = None


held = Held()


class Kept(Generic[T]):
    """A value that is sent to most children, and found in memory by those whose launcher says so (`finds_kept`)."""

    def __init__(self, value: T) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        if getattr(current(), "finds_kept", False):
            return _find, ()
        return Kept, (self.value,)


def _find() -> Kept[Any] | None:
    return held.kept
