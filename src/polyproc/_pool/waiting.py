"""Tasks that no worker has: the highest priority first, then the oldest."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar


class Ranked(Protocol):
    """What can wait here."""

    withdrawn: bool
    waits: bool

    @property
    def priority(self) -> int:
        """Higher goes first."""
        ...


T = TypeVar("T", bound=Ranked)


class Waiting(Iterable[T]):
    """A queue for each priority that occurs; a task that is withdrawn stays in its place until its turn comes."""

    def __init__(self) -> None:
        self._plain: collections.deque[T] = collections.deque()  # those of the commonest priority, 0
        self._queues: dict[int, collections.deque[T]] = {0: self._plain}
        self._priorities = [0]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for priority in self._priorities:
            for task in self._queues[priority]:
                if not task.withdrawn:
                    yield task

    def append(self, task: T) -> None:
        """Add a task behind those of its priority, unless it is withdrawn."""
        if not task.withdrawn:
            task.waits = True
            self._queue_of(task).append(task)
            self._count += 1

    def appendleft(self, task: T) -> None:
        """Add a task before those of its priority, unless it is withdrawn."""
        if not task.withdrawn:
            task.waits = True
            self._queue_of(task).appendleft(task)
            self._count += 1

    def first(self) -> T:
        """Return the next task; it stays. Raises IndexError."""
        for priority in self._priorities:
            queue = self._queues[priority]
            while queue:
                if not queue[0].withdrawn:
                    return queue[0]
                queue.popleft()
        raise IndexError("nothing waits")

    def popleft(self) -> T:
        """Take the next task. Raises IndexError."""
        for priority in self._priorities:
            queue = self._queues[priority]
            while queue:
                task = queue.popleft()
                if not task.withdrawn:
                    task.waits = False
                    self._count -= 1
                    return task
        raise IndexError("nothing waits")

    def withdraw(self, task: Any) -> None:
        """Take a task out of its place, if it waits; it will not be handed out."""
        task.withdrawn = True
        if task.waits:
            task.waits = False
            self._count -= 1

    def withdraw_all(self, wanted: Callable[[T], bool]) -> list[T]:
        """Take all that a predicate is true for out of their places; return them."""
        found = [task for task in self if wanted(task)]
        for task in found:
            self.withdraw(task)
        return found

    def clear(self) -> None:
        """Forget all."""
        for task in self:
            task.waits = False
        for queue in self._queues.values():
            queue.clear()
        self._count = 0

    def _queue_of(self, task: T) -> collections.deque[T]:
        priority = task.priority
        if not priority:
            return self._plain
        if priority not in self._queues:
            self._queues[priority] = collections.deque()
            self._priorities = sorted(self._queues, reverse=True)
        return self._queues[priority]
