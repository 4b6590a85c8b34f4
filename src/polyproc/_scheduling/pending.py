"""Tasks that no worker has: the highest priority first, then the oldest."""

from __future__ import annotations

import collections
from collections.abc import Iterator

from polyproc._scheduling.tasks import ASSIGNED, DONE, WAITING, QueuedTask


class PendingTasks:
    """A queue for each priority that occurs; a task that is removed stays in its place until its turn comes.

    Attributes:
        count: how many there are.
    """

    def __init__(self) -> None:
        self._plain: collections.deque[QueuedTask] = collections.deque()  # those of the commonest priority, 0
        self._queues: dict[int, collections.deque[QueuedTask]] = {0: self._plain}
        self._priorities = [0]
        self.count = 0

    def __iter__(self) -> Iterator[QueuedTask]:
        for priority in self._priorities:
            for task in self._queues[priority]:
                if task.state is WAITING:
                    yield task

    def append(self, task: QueuedTask) -> None:
        """Add a task behind those of its priority."""
        task.state = WAITING
        self.count += 1
        if task.options.priority:
            self._queue_of(task).append(task)
        else:
            self._plain.append(task)

    def appendleft(self, task: QueuedTask) -> None:
        """Add a task before those of its priority."""
        task.state = WAITING
        self.count += 1
        self._queue_of(task).appendleft(task)

    def first(self) -> QueuedTask:
        """Return the next task, which stays. Raises IndexError."""
        for priority in self._priorities:
            queue = self._queues[priority]
            while queue:
                if queue[0].state is WAITING:
                    return queue[0]
                queue.popleft()
        raise IndexError("nothing waits")

    def popleft(self) -> QueuedTask:
        """Take the next task: it is assigned. Raises IndexError."""
        for priority in self._priorities:
            queue = self._queues[priority]
            while queue:
                task = queue.popleft()
                if task.state is WAITING:
                    task.state = ASSIGNED
                    self.count -= 1
                    return task
        raise IndexError("nothing waits")

    def remove(self, task: QueuedTask) -> None:
        """Take a task out of its place: it is done."""
        task.state = DONE
        self.count -= 1

    def _queue_of(self, task: QueuedTask) -> collections.deque[QueuedTask]:
        priority = task.options.priority
        if priority not in self._queues:
            self._queues[priority] = collections.deque()
            self._priorities = sorted(self._queues, reverse=True)
        return self._queues[priority]
