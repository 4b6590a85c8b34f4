"""What a child on a node writes to its streams, as its agent reads it: only so far ahead of what is shown."""

from __future__ import annotations

import collections
import functools
import os
import selectors

from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Sequence

if TYPE_CHECKING:
    from polyproc._hosts.wire import Wire

AHEAD = 1 << 19  # bytes that are sent before it is known that they are shown
_PIECE = 65536
_MAX_LEFT = 1 << 20  # bytes that are read of what an ended child has left in a pipe: others may write to it for ever


class ChildOutput:
    """The reading ends of a child's streams, by their numbers: 1 and 2."""

    def __init__(
        self,
        id: int,
        ends: Sequence[Any],
        wire: Wire,
        selector: selectors.BaseSelector,
        at_end: Callable[[], object],
    ) -> None:
        self.ends: dict[int, Any] = dict(enumerate(ends, 1))
        self._id = id
        self._wire = wire
        self._selector = selector
        self._at_end = at_end
        self._unshown: collections.Counter[int] = collections.Counter()  # bytes
        for number, end in self.ends.items():
            os.set_blocking(end.fileno(), False)
            self._watch(number)

    def _watch(self, number: int) -> None:
        act = functools.partial(self.forward, number)
        self._selector.register(self.ends[number].fileno(), selectors.EVENT_READ, act)

    def _is_watched(self, fd: int) -> bool:
        return fd in self._selector.get_map()

    def forward(self, number: int) -> int:
        """Send a piece; return how many bytes there were."""
        end = self.ends[number]
        try:
            piece = os.read(end.fileno(), _PIECE)
        except BlockingIOError:
            return 0
        if piece:
            self._wire.send("output", self._id, number, payload=piece)
            self._unshown[number] += len(piece)
        if (not piece or self._unshown[number] >= AHEAD) and self._is_watched(end.fileno()):
            self._selector.unregister(end.fileno())
        if not piece:
            del self.ends[number]
            end.close()
            self._at_end()
        return len(piece)

    def note_shown(self, number: int, count: int) -> None:
        """Read on, if it was left until some of it is shown."""
        self._unshown[number] -= count
        if self._unshown[number] < AHEAD and number in self.ends and not self._is_watched(self.ends[number].fileno()):
            self._watch(number)

    def drain(self) -> None:
        """Send what a child has left that has ended."""
        for number in list(self.ends):
            rest = _MAX_LEFT
            while rest > 0 and number in self.ends and (count := self.forward(number)):
                rest -= count
