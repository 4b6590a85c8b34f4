"""A queue of the C core: how it is made, how it travels, and how large messages go through it."""

from __future__ import annotations

import os

import polyproc._core as core
from polyproc._memory.chunk import attach_with, descriptors, registry_to_send
from polyproc._pickling.live_fd import sent_fds
from polyproc._platform.posix import LongLived, close_quietly
from polyproc._public import Remade
from polyproc._queues import large
from polyproc._typing import Any


class SharedQueue(Remade, core.Queue):
    """What the queues that users have, and the channels of a pool, are made of."""

    def _make(self, maxsize: int, joinable: bool, polled: bool = True) -> None:
        # A pipe that is readable while there are items, for who waits for many things; unused until somebody asks.
        signals = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if polled else (-1, -1)
        try:
            self._create(maxsize, joinable, *signals)
        except BaseException:
            close_quietly(*signals)
            raise
        self._signals = tuple(map(LongLived, signals))

    def __getstate__(self) -> tuple[Any, ...]:
        id, offset = self._where()
        fd, registry_fd = descriptors(id)
        signals = [signal.fd for signal in self._signals if signal.is_there()]
        signals = signals if len(signals) == len(self._signals) else []
        return offset, sent_fds(fd, *signals), registry_to_send(registry_fd)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        offset, sent, sent_registry = state
        fd, *signals = sent.detach()
        signals = signals or [-1, -1]
        try:
            id = attach_with(fd, sent_registry)
            try:
                self._attach(id, offset, *signals)
            finally:
                core.detach(id)
        except BaseException:
            close_quietly(*signals)
            raise
        finally:
            os.close(fd)
        self._signals = tuple(map(LongLived, signals))

    def _memory_fd(self) -> int:
        """Return the descriptor of its memory: who has that may get its items (_pickling/in_transit.py)."""
        return descriptors(self._where()[0])[0]

    def fileno(self) -> int:
        """Return a descriptor that is readable while there are items, for `wait` and selectors.

        It may be readable when another consumer has just taken the last item. It is not to be read from.
        """
        return self._poll_on()

    def _put_other(self, obj: Any, deadline: int, tag: int) -> None:
        """Put what is not plain data, or is large. The core calls it."""
        try:
            record = large.pack(self, obj)
        except Exception as error:
            if not self._refused(error, obj):
                raise
            return
        large.put(self, record, deadline, tag)

    def _get_large(self, record: bytes, slot: core.Slot) -> Any:
        """Return the object of a large pickle. The core calls it."""
        return large.unpack(record, slot)

    def _refused(self, error: Exception, obj: Any) -> bool:
        """Return whether somebody was told that an object could not be pickled; else the error is raised."""
        return False
