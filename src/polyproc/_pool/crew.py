"""A pool's processes as its callers see them: tasks go in from any thread, one thread settles results.

Submitting hands out at once, from the caller's thread. No lock is shared between workers that one of them could die
with for good (lines.py). The threads hold no reference to the pool that its users hold.
"""

from __future__ import annotations

import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from polyproc._errors import ProcessError
from polyproc._pickling.pickler import dumps_function, dumps_to_keep
from polyproc._pool.dispatch import Dispatch, batch_task
from polyproc._pool.jobs import CLOSE, RUN, TERMINATE, Desk
from polyproc._pool.ledger import Batch, Task
from polyproc._pool.lines import pack
from polyproc._pool.options import PLAIN, Plan, Terms
from polyproc._pool.staff import Member
from polyproc._pool.stats import PoolStats
from polyproc._pool.worker import BATCH, DONE, FAILED, FAILED_START, LEAVING, OVERDUE, PARTS, READY

# Tasks of one job that are packed before they are handed out, and bytes.
BLOCK = 64
BLOCK_BYTES = 16384
_ENOUGH = 4  # short tasks at hand, while which a feeder may gather more


class Crew(Desk):
    """Tasks and workers; shared by a pool and its threads under the desk's lock."""

    def __init__(self, plan: Plan, translated: Callable[[BaseException], BaseException] = lambda error: error) -> None:
        super().__init__()
        self._translated = translated  # a worker's death, or why none can be started, as the caller is told
        self.dispatch = Dispatch(plan, self.jobs, self.lock)
        self.staff = self.dispatch.staff
        self.ledger = self.dispatch.ledger
        self.lines = self.staff.lines
        self.thread = threading.Thread(target=self._serve, name="polyproc-pool", daemon=True)

    @property
    def processes(self) -> list[Any]:
        """The workers' process objects."""
        return [member.process for member in self.staff.staying()]

    @property
    def size(self) -> int:
        """How many workers there are, at most."""
        return self.staff.size

    # -- called by the pool ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the workers, then the threads. Raises OSError when a process cannot be started."""
        try:
            self.staff.fill_up()
            self._start_threads()
        except BaseException:
            self.state = TERMINATE
            self._end_workers()
            self.staff.close()
            raise

    def _start_threads(self) -> None:
        self.staff.watcher.start()
        self.thread.start()

    @property
    def is_started(self) -> bool:
        """Whether there are threads."""
        return self.thread.ident is not None

    def join(self) -> None:
        """Wait until the threads have ended, if there are any."""
        if self.is_started and self.thread is not threading.current_thread():
            self.thread.join()

    def pack_function(self, function: Any) -> bytes:
        """Return what stands for a function in a task: its pickle."""
        return dumps_function(function)

    def add_call(self, number: int, message: Any, name: str, terms: Terms) -> Task:
        """Add the one task of a job. Raises what pickling raises."""
        packed, _ = pack(message)
        task = Task((number, 0), packed, name, None, terms)
        self.open_tasks([task])
        return task

    def make_task(self, number: int, index: int, message: Any, name: str, terms: Terms) -> tuple[list[Task], int]:
        """Pickle a task of a job; return it, and its size. One that cannot be pickled fails: none is returned."""
        try:
            packed, size = pack(message)
        except Exception as error:  # noqa: BLE001  (told where the result is waited for, as in the standard library)
            with self.lock:
                self.jobs.settle(number, index, False, error)
            return [], 0
        return [Task((number, index), packed, name, None, terms)], size

    def open_tasks(self, tasks: list[Task]) -> None:
        """Have tasks run."""
        with self.lock:
            self._open(tasks)
        self.have_told()

    def add_tasks(self, number: int, first: int, messages: Iterable[Any], name: str, terms: Terms = PLAIN) -> None:
        """Add tasks of a job, from index `first` on. One that cannot be pickled fails."""
        tasks, total = list[Task](), 0
        for index, message in enumerate(messages, first):
            made, size = self.make_task(number, index, message, name, terms)
            tasks += made
            total += size
            if len(tasks) >= BLOCK or total >= BLOCK_BYTES:  # workers can begin
                self.open_tasks(tasks)
                tasks, total = [], 0
        self.open_tasks(tasks)

    def add_chunks(
        self, number: int, function: bytes, kind: int, chunks: Sequence[Any], name: str, terms: Terms = PLAIN
    ) -> None:
        """Add the chunks of a map: many short ones go together, once it shows that they are short."""
        start = 0
        while start < len(chunks):
            left = len(chunks) - start
            size = 1 if terms.are_for_one else self.ledger.batch_size(left, name)
            if size > 1:
                stop = start + size
                try:
                    batch = Batch(function, kind | BATCH, 0, size, dumps_to_keep(tuple(chunks[start:stop])))
                except Exception:  # noqa: BLE001  (one of them: they are sent one by one)
                    size = 1
                else:
                    task = batch_task((number, start), batch, name, terms)
                    self.open_tasks([task])
            if size == 1:
                stop = min(start + BLOCK, len(chunks))
                messages = ((function, kind, chunk) for chunk in chunks[start:stop])
                self.add_tasks(number, start, messages, name, terms)
            start = stop
        self.have_told()

    def has_enough(self, name: str) -> bool:
        """Say whether one more call of a function could wait a little: they are short, and there is enough at hand."""
        return self.ledger.is_short(name) and self.ledger.backlog() >= _ENOUGH

    def _open(self, block: list[Task]) -> None:
        if not block:
            return
        if self.error is not None:
            for task in block:
                self.jobs.fail(task, self.error)
            return
        if self.dispatch.open(block) or not self.is_started:
            self._hire()
        if not self.is_started:  # an executor's first call: forked workers see the program as it is now
            self._start_threads()

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
        with self.lock:
            if not self.is_started and self._is_over():
                self.staff.close()
        if not self.staff.watcher.closed:
            self.lines.note(0)

    def runs(self, task: Task) -> bool:
        """Say whether a worker runs a task now, as far as its results have told."""
        with self.lock:
            head = None if task.holder is None else self.ledger.head(task.holder[0])
            return head is not None and head[1] is task

    def _drop(self, task: Task) -> None:
        self.dispatch.withdraw(task)

    def _drop_waiting(self, number: int | None) -> list[Task]:
        return self.dispatch.withdraw_waiting(number)

    def withdraw_unassigned(self) -> None:
        """Drop the tasks that nobody has begun, and that no worker is being started for; they count as cancelled."""
        with self.lock:
            for task in self.dispatch.withdraw_unassigned():
                self.jobs.cancel(task)
        self.have_told()

    def resize(self, size: int) -> None:
        """Have another number of workers. Does not wait for those that leave."""
        with self.lock:
            self.dispatch.resize(size)
        self.wake()

    def stats(self) -> PoolStats:
        """Say how things stand."""
        with self.lock:
            return self.dispatch.stats()

    # -- the thread that settles -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._is_over():
                number, opened, message = self.lines.take()
                if opened and message is None:
                    if number:
                        self._reap(number)
                    self._hire()
                else:
                    self._heard(number, opened, message)
                    message = None  # a result is its receiver's alone
                    if self.feeders and not self.lines.has_more():
                        self.flush_feeders()
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
            self.staff.close()

    def _is_over(self) -> bool:
        return self.state == TERMINATE or (self.state == CLOSE and not self.jobs)

    def _hire(self) -> None:
        """Start the workers that are missing, as far as that can be."""
        with self.lock:
            if self.state == TERMINATE or self.error is not None:
                return
            try:
                self.staff.fill_up()
            except OSError as error:
                if not self.staff.members:
                    self._break(error)

    def _heard(self, number: int, opened: bool, message: Any) -> None:
        """Deal with what a worker has sent: a value, an error, or that it is ready."""
        kind, value, took = message if opened else (None, message, None)
        if kind in (FAILED, FAILED_START):
            value = _error_of(value)
        with self.lock:
            member = self.staff.members.get(number)
            if member is None:
                return
            now = time.monotonic()
            if kind in (DONE, FAILED, None):
                self._settle(member, now, kind == DONE, value, took)
            elif kind == PARTS:
                self._settle_batch(number, now, value, took)
            elif kind == READY:
                self.staff.is_ready(member)
                self.dispatch.join(number, now)
            elif kind == FAILED_START:
                member.error = value
                return
            elif kind == OVERDUE:
                self.dispatch.overdue(number, value)
                return
            elif kind == LEAVING:
                self.dispatch.leave(member)
            self.dispatch.fill(number, now)
            if not self.lines.has_more():  # else it is not known yet who has what
                self.dispatch.fill_idle(now)
        if member.leaving:
            self._hire()

    def _settle(self, member: Member, now: float, success: bool, value: Any, took: float | None) -> None:
        task, leaves = self.dispatch.settle(member.number, now, took)
        if success:
            self.jobs.settle(*task.id, True, value)
        else:
            self._failed(task, value)
        if leaves:
            self.staff.dismiss(member)

    def _failed(self, task: Task, error: Any) -> None:
        """Have a task tried again, if its terms say so, or fail it."""
        is_wanted = not task.withdrawn and self.error is None and self.state != TERMINATE
        if is_wanted and task.is_tried_again_after(error):
            self.ledger.again(task)
            return
        if is_wanted and task.terms.retries:
            error.add_note(f"attempt {task.attempt} of {task.terms.retries + 1}")
        self.jobs.fail(task, error)

    def _settle_batch(self, number: int, now: float, outcomes: list[tuple[bool, Any]], took: float | None) -> None:
        task, _ = self.dispatch.settle(number, now, took, len(outcomes))
        job, index = task.id
        for success, value in outcomes:
            self.jobs.settle(job, index, success, value if success else _error_of(value))
            self.jobs.failed += not success
            index += 1
        batch = task.batch
        assert batch is not None  # it was answered as one
        if batch.start + len(outcomes) < batch.stop:  # it took too long for a batch
            self.dispatch.open_parts(task, batch._replace(start=batch.start + len(outcomes)))
            self.dispatch.fill_idle(now)

    def _reap(self, number: int) -> None:
        """Deal with the end of a worker: fail what it ran, hand the rest on."""
        with self.lock:
            member = self.staff.members.pop(number, None)
        if member is None:
            return
        process = member.process
        process.join()
        with self.lock:
            account = self.ledger.accounts.get(number)
            head = self.ledger.head(number)
            running = self.ledger.lost(number, member.line.take_back(len(account.handed)) if account else [])
            self.dispatch.overtime.end(number)
            self.staff.remove(member)
            if running is not None:
                self._failed(running, self._verdict(member, head, running.name))
            elif not member.ready and self.state == RUN:
                broken_by = self.staff.start_failed(process.exception() if member.error is None else member.error)
                if broken_by is not None:
                    self._break(self._translated(broken_by))
            self.dispatch.fill_idle(time.monotonic())

    def _verdict(self, member: Member, head: tuple[int, Task] | None, name: str) -> BaseException:
        """Say what a task's caller gets whose worker has ended: that it was killed for it, or how it died."""
        if member.verdict is not None and head is not None and member.verdict[0] == head[0]:
            return member.verdict[1]
        return self._translated(member.death(name))

    def _break(self, error: BaseException) -> None:
        """Fail everything that is owed, and all that will be asked for."""
        if self.error is None:
            self.error = error
        for task in self.ledger.drop_all():
            self.jobs.fail(task, self.error)

    def _end_workers(self) -> None:
        with self.lock:
            members = list(self.staff.members.values())
            self.staff.members.clear()
        self.staff.end(members, lambda: self.state == TERMINATE)


def _error_of(packed: bytes) -> Any:
    try:
        return pickle.loads(packed)
    except BaseException as error:  # noqa: BLE001  (an error that cannot be opened is an error, too)
        return error
