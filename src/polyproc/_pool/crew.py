"""The workers of a pool: one thread settles results and hands out tasks, another watches for the end of workers.

Submitting hands out at once, from the caller's thread. No lock is shared between workers that one of them could die
with for good (lines.py). The threads hold no reference to the pool that its users hold.
"""

from __future__ import annotations

import dataclasses
import itertools
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

from polyproc._errors import ProcessDied, ProcessError
from polyproc._pickling.pickler import dumps
from polyproc._pool.jobs import CLOSE, RUN, TERMINATE, Desk
from polyproc._pool.ledger import Batch, Ledger, Task, TaskId
from polyproc._pool.lines import MOST_BEHIND, MOST_BYTES, Lines, pack
from polyproc._pool.watcher import Member, Watcher
from polyproc._pool.worker import BATCH, DONE, FAILED, FAILED_START, PARTS, READY, worker

# A pool whose workers end this often in a row before they are ready is broken: more would end the same way.
# Being killed is nobody's decision here, and has to happen more often.
FAILED_STARTS = 3
KILLED_STARTS = 50
GRACE = 1.0
# Tasks of one job that are packed before they are handed out, and bytes.
_BLOCK = 64
_BLOCK_BYTES = 16384
_NUMBERS = 65535


class Crew(Desk):
    """Workers and ledger; shared by a pool and its threads under the desk's lock."""

    def __init__(self, ctx: Any, size: int, initial: tuple[Any, ...], maxtasks: int | None) -> None:
        super().__init__()
        self.ctx = ctx
        self.size = size
        self.initial = initial
        self.ledger = Ledger(maxtasks, MOST_BEHIND, MOST_BYTES)
        self.lines = Lines()
        self.members: dict[int, Member] = {}
        self._failed_starts = self._killed_starts = 0
        self._workers = itertools.cycle(range(1, _NUMBERS + 1))
        self.thread = threading.Thread(target=self._serve, name="polyproc-pool", daemon=True)
        self._watcher = Watcher(self.members, self.lines.note)

    @property
    def processes(self) -> list[Any]:
        """The workers' process objects."""
        return [member.process for member in self.members.values()]

    # -- called by the pool ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the workers, then the threads."""
        try:
            while len(self.members) < self.size:
                self.add_worker()
        except BaseException:
            self.state = TERMINATE
            self._end_workers()
            self._give_up()
            raise
        self.thread.start()
        self._watcher.start()

    @staticmethod
    def pack_function(function: Any) -> bytes:
        """Return what stands for a function in a task: its pickle."""
        return dumps(function)

    def add_tasks(self, number: int, first: int, messages: Iterable[Any], name: str) -> int:
        """Add tasks of a job, from index `first` on; return how many. One that cannot be pickled fails."""
        index = first
        while True:
            before, block, total = index, list[Task](), 0
            for message in itertools.islice(messages, _BLOCK):
                try:
                    packed, size = pack(message)
                except Exception as error:  # noqa: BLE001  (told where the result is waited for, as in the standard library)
                    with self.lock:
                        self.jobs.settle(number, index, False, error)
                else:
                    block.append(Task((number, index), packed, name, size))
                    total += size
                index += 1
                if total >= _BLOCK_BYTES:  # workers can begin
                    break
            with self.lock:
                self._open(block)
            self.have_told()
            if index == before:
                return index - first

    def add_chunks(self, number: int, function: bytes, kind: int, chunks: Sequence[Any], name: str) -> None:
        """Add the chunks of a map: many short ones go together, once it shows that they are short."""
        start = 0
        while start < len(chunks):
            left = len(chunks) - start
            size = self.ledger.batch_size(left)
            if size > 1:
                stop = start + size
                try:
                    batch = Batch(function, kind | BATCH, 0, size, dumps(tuple(chunks[start:stop])))
                except Exception:  # noqa: BLE001  (one of them: they are sent one by one)
                    size = 1
                else:
                    task = _batch_task((number, start), batch, name)
                    with self.lock:
                        self._open([task])
            if size == 1:
                stop = min(start + _BLOCK, len(chunks))
                self.add_tasks(number, start, ((function, kind, chunk) for chunk in chunks[start:stop]), name)
            start = stop
        self.have_told()

    def _open(self, block: list[Task]) -> None:
        if self.error is not None:
            for task in block:
                self.jobs.fail(task, self.error)
            return
        for task in block:
            self.ledger.open(task)
        now = time.monotonic()
        for number in self.ledger.idle():
            self._fill(number, now)
        for number in self.members:
            if not self.ledger.waiting:
                break
            self._fill(number, now)

    def have_told(self) -> None:
        """Have the pool's thread tell what was settled here: a caller may hold a lock that a callback needs."""
        if not self.jobs.settled:
            return
        if self.thread.is_alive():
            self.lines.note(0)
        else:
            self.tell()

    def wake(self) -> None:
        """Have the thread look at the pool's state again."""
        if not self._watcher.closed:
            self.lines.note(0)

    def add_worker(self) -> None:
        """Start one more worker."""
        number = next(number for number in self._workers if number not in self.members)
        line = self.lines.open(number)
        try:
            process = self.ctx.Process(target=worker, args=(line.end, *self.initial))
            process.name = process.name.replace("Process", "PoolWorker")
            process.daemon = True
            process.start()
        except BaseException:
            self.lines.drop(number)
            line.close()
            raise
        finally:
            line.release()
        self.members[number] = Member(number, process, line)  # tasks come when it says that it is ready
        self._watcher.wake()

    # -- the thread that settles -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._is_over():
                number, opened, message = self.lines.take()
                if opened and message is None:
                    if number:
                        self._reap(number)
                else:
                    self._heard(number, opened, message)
                    message = None  # a result is its receiver's alone
                self.tell()
        except BaseException as error:  # noqa: BLE001  (the last resort: nobody waits for ever, and it is told loudly)
            sys.stderr.write("a pool's thread ended by an error:\n" + traceback.format_exc())
            with self.lock:
                self._break(error)
        finally:
            self._end_workers()
            with self.lock:
                self._break(ProcessError("the pool was terminated"))
            self.tell()
            self._give_up()

    def _is_over(self) -> bool:
        return self.state == TERMINATE or (self.state == CLOSE and not self.jobs)

    def _heard(self, number: int, opened: bool, message: Any) -> None:
        """Deal with what a worker has sent: a value, an error, or that it is ready."""
        kind, value = message if opened else (None, message)
        if kind in (FAILED, FAILED_START):
            value = _error_of(value)
        with self.lock:
            member = self.members.get(number)
            if member is None:
                return
            now = time.monotonic()
            if kind == READY:
                self._failed_starts = self._killed_starts = 0
                member.ready = True
                self.ledger.join(number)
            elif kind == FAILED_START:
                member.error = value
                return
            elif kind == PARTS:
                self._settle_batch(number, now, value)
            else:
                task, leaves = self.ledger.settle(number, now)
                if kind == DONE:
                    self.jobs.settle(*task.id, True, value)
                else:
                    self.jobs.fail(task, value)
                if leaves:
                    member.leaving = True
                    member.line.finish()
            self._fill(number, now)
            if not self.ledger.waiting:
                for idle in self.ledger.idle():
                    self._fill(idle, now)

    def _settle_batch(self, number: int, now: float, outcomes: list[tuple[bool, Any]]) -> None:
        task, _ = self.ledger.settle(number, now, len(outcomes))
        job, index = task.id
        for success, value in outcomes:
            self.jobs.settle(job, index, success, value if success else _error_of(value))
            index += 1
        batch = task.batch
        assert batch is not None  # it was answered as one
        start = batch.start + len(outcomes)
        if start == batch.stop:
            return
        # It took too long for a batch: the rest goes in as many parts as there are workers, before all others.
        parts = min(batch.stop - start, self.size)
        bounds = [start + (batch.stop - start) * part // parts for part in range(parts + 1)]
        for first, last in reversed(list(itertools.pairwise(bounds))):
            rest = dataclasses.replace(batch, start=first, stop=last)
            self.ledger.waiting.appendleft(_batch_task((job, index + first - start), rest, task.name))
        for other in self.ledger.idle():
            self._fill(other, now)

    def _fill(self, number: int, now: float) -> None:
        """Hand a worker as much as it may have; one that has nothing gets what others have not begun."""
        member = self.members.get(number)
        if member is None or member.leaving or member.noted:
            return
        if not self.ledger.waiting and number in self.ledger.accounts and not self.ledger.accounts[number].handed:
            self._take_back()
        while (handed := self.ledger.next_for(number, now)) is not None:
            place, task = handed
            try:
                member.line.send(place, task.payload)
            except OSError as error:  # no memory: that task cannot be sent now
                self.ledger.accounts[number].handed.pop()
                self.jobs.fail(task, error)

    def _take_back(self) -> None:
        # The richest may have done all that it has, and its results are on their way: then it is the next one's turn.
        for number in self.ledger.rich():
            member = self.members.get(number)  # None while its end is being dealt with
            numbers = member.line.take_back(-(-self.ledger.behind(number) // 2)) if member is not None else None
            if numbers:
                self.ledger.take_back(number, numbers)
                return

    def _reap(self, number: int) -> None:
        """Deal with the end of a worker: fail what it ran, hand the rest on, replace it."""
        with self.lock:
            member = self.members.pop(number, None)
        if member is None:
            return
        process = member.process
        process.join()
        with self.lock:
            account = self.ledger.accounts.get(number)
            running = self.ledger.lost(number, member.line.take_back(len(account.handed)) if account else [])
            self.lines.drop(number)
            member.line.close()
            if running is not None:
                died = process._popen.died()
                died.task = running.name or None
                died.args = (died._sentence(),)
                self.jobs.fail(running, died)
            elif not member.ready and self.state == RUN:
                self._start_failed(process.exception() if member.error is None else member.error)
            if self.state != TERMINATE and self.error is None:
                self._replace()
            now = time.monotonic()
            for other in self.ledger.idle():
                self._fill(other, now)

    def _start_failed(self, error: Any) -> None:
        if isinstance(error, ProcessDied) and error.signal is not None:
            self._killed_starts += 1
        else:
            self._failed_starts += 1
        if self._failed_starts >= FAILED_STARTS or self._killed_starts >= KILLED_STARTS:
            self._break(error if isinstance(error, BaseException) else ProcessError("the workers end as they start"))

    def _replace(self) -> None:
        while len(self.members) < self.size:
            try:
                self.add_worker()
            except OSError as error:
                if not self.members:
                    self._break(error)
                return

    def _break(self, error: BaseException) -> None:
        """Fail everything that is owed, and all that will be asked for."""
        if self.error is None:
            self.error = error
        for task in self.ledger.drop_all():
            self.jobs.fail(task, self.error)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _end_workers(self) -> None:
        """End all workers: ask those that are idle, or SIGTERM, then SIGKILL."""
        with self.lock:
            members = list(self.members.values())
            self.members.clear()
        for member in members:
            if self.state == TERMINATE:
                member.process.terminate()
            else:
                member.line.finish()
        until = time.monotonic() + GRACE
        for member in members:
            member.process.join(max(until - time.monotonic(), 0.0) if self.state == TERMINATE else None)
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
            member.line.close()

    def _give_up(self) -> None:
        self._watcher.close()
        self.lines.close()


def _batch_task(id: TaskId, batch: Batch, name: str) -> Task:
    packed, size = pack(batch.message())
    return Task(id, packed, name, size, batch)


def _error_of(packed: bytes) -> Any:
    try:
        return pickle.loads(packed)
    except BaseException as error:  # noqa: BLE001  (an error that cannot be opened is an error, too)
        return error
