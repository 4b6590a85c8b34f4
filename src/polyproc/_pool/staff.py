"""The workers of a pool: started, watched, replaced, sent away.

start -> READY -> works -> ended (its sentinel says so) -> replaced, if the pool still wants as many
                    +-> dismissed: gets no more, leaves when it has done what it has
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from polyproc._errors import ProcessDied, ProcessError
from polyproc._launch.fork_template import ForkTemplate
from polyproc._launch.stopping import Tree
from polyproc._log import log
from polyproc._native import native
from polyproc._pickling.kept import Kept
from polyproc._platform.interpreter import usable_processors
from polyproc._pool.blas import environment_of_worker, share_of
from polyproc._pool.interruption import SIGNAL, Cell
from polyproc._pool.lines import Lines
from polyproc._pool.options import Plan
from polyproc._pool.watcher import Alarm, Watcher
from polyproc._pool.worker import WorkerPlan, worker
from polyproc._process.kinds import launched_by

# A pool whose workers end this often in a row before they are ready is broken: more would end the same way.
# Being killed is nobody's decision here, and has to happen more often.
FAILED_STARTS = 3
KILLED_STARTS = 50
GRACE = 1.0
_NUMBERS = 65535


class Member:
    """A worker, as its pool sees it."""

    def __init__(self, number: int, process: Any, line: Any, cell: Cell) -> None:
        self.number = number
        self.process = process
        self.line = line
        self.cell = cell
        self.noted = False  # the watcher has said that it has ended
        self.ready = False
        self.leaving = False
        self.error: Any = None  # why it could not start
        self.verdict: tuple[int, BaseException] | None = None  # the task it was killed for, and what its caller gets

    def interrupt(self, place: int, why: int) -> None:
        """Raise in a task, if it is the one that runs."""
        self.cell.set(place, why)
        self.process._popen.signal(SIGNAL)

    def death(self, name: str) -> ProcessDied:
        """Return how it died; `name` is the task that it ran."""
        died: ProcessDied = self.process._popen.died()
        died.task = name or None
        died.args = (died._sentence(),)
        return died

    def kill(self) -> None:
        """Kill it and what it has started."""
        with Tree(self.process.pid) as tree:
            tree.kill()
        self.process.kill()


class Staff:
    """The workers, by number. Every caller but of `end` has the pool's lock."""

    def __init__(self, plan: Plan, alarm: Alarm) -> None:
        self.plan = plan
        self.size = plan.size  # at most
        self.wanted = 0 if plan.on_demand else plan.size
        self.started = 0
        self.lines = Lines()
        self.members: dict[int, Member] = {}
        self._failed_starts = self._killed_starts = 0
        self._numbers = itertools.cycle(range(1, _NUMBERS + 1))
        self.watcher = Watcher(self.members, self.lines.note, alarm)
        self._told = Kept(WorkerPlan(plan.initializer, plan.initargs, plan.most_memory, plan.is_executors))
        self._process: type[Any] = plan.process
        self._template: ForkTemplate | None = None
        self._has_begun = False

    def staying(self) -> list[Member]:
        """Return those that do not leave."""
        return [member for member in self.members.values() if not member.leaving]

    def starting(self) -> int:
        """Return how many have been started and are not ready yet."""
        return sum(not member.ready for member in self.staying())

    def is_short(self) -> bool:
        """Say whether there are fewer than wanted."""
        return len(self.staying()) < self.wanted

    def fill_up(self) -> None:
        """Start as many as are missing; the first time, before there are threads, fork the template for those to come.

        Raises what starting a process raises.
        """
        if self._has_begun and not self.is_short():
            return
        threads = share_of(usable_processors(), self.size)
        with environment_of_worker(threads):
            begins, self._has_begun = not self._has_begun, True
            missing = self.wanted - len(self.staying())
            made = (self._make_one(threads) for _ in range(missing))
            # What is written after a fork is copied first, page by page: as much as can be is made before.
            for member in list(made) if native else made:
                if self._template is not None:
                    self._template.order(self.wanted - len(self.staying()))
                self._start_one(member)
            if begins and self.plan.forks and native:
                self._keep_template()

    def _make_one(self, threads: int | None) -> Member:
        number = next(number for number in self._numbers if number not in self.members)
        line = self.lines.open(number)
        cell = Cell()
        process = self._process(target=worker, args=(line.end, cell.block, threads, self._told))
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        return Member(number, process, line, cell)

    def _start_one(self, member: Member) -> None:
        try:
            member.process.start()
        except BaseException:
            self.lines.drop(member.number)
            member.line.close()
            raise
        finally:
            member.line.release()
        self.started += 1
        self.members[member.number] = member  # tasks come when it says that it is ready
        self.watcher.wake()

    def _keep_template(self) -> None:
        try:
            self._template = ForkTemplate(self._told)
        except OSError as error:  # no room for one process more: that is no reason not to work
            log.info("no template for later workers: %s", error)
        else:
            self._process = launched_by(self._template, self.plan.process)

    def is_ready(self, member: Member) -> None:
        """Note that a worker can work."""
        self._failed_starts = self._killed_starts = 0
        member.ready = True

    def start_failed(self, error: Any) -> BaseException | None:
        """Note that a worker ended before it was ready; return the error that breaks the pool, if that is enough."""
        if isinstance(error, ProcessDied) and error.signal is not None:
            self._killed_starts += 1
        else:
            self._failed_starts += 1
        if self._failed_starts < FAILED_STARTS and self._killed_starts < KILLED_STARTS:
            return None
        return error if isinstance(error, BaseException) else ProcessError("the workers end as they start")

    def dismiss(self, member: Member) -> None:
        """Send a worker away when it has done what it has."""
        if not member.leaving:
            member.leaving = True
            member.line.finish()

    def remove(self, member: Member) -> None:
        """Forget a worker that has ended."""
        self.lines.drop(member.number)
        member.line.close()

    def end(self, members: list[Member], in_a_hurry: Callable[[], bool]) -> None:
        """End workers, and wait for it: ask them, or SIGTERM, then SIGKILL."""
        if self._template is not None:
            self._template.kill()
        for member in members:
            if in_a_hurry():
                member.process.terminate()
            else:
                member.line.finish()
        until = time.monotonic() + GRACE
        for member in members:
            member.process.join(max(until - time.monotonic(), 0.0) if in_a_hurry() else None)
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
            member.line.close()

    def close(self) -> None:
        """Watch no more, and give up the template and the lines."""
        if self._template is not None:
            self._template.end()
        self.watcher.close()
        self.lines.close()
