"""Whatever event of a scheduler is broken off, wherever: each call has one outcome, and all ends."""

import collections
import sys

import pytest

from polyproc._scheduling import actions as act
from polyproc._scheduling.actions import ResolvedOptions
from polyproc._scheduling.assignments import MAX_TASKS, Batch, QueuedTask
from polyproc._scheduling.deaths_and_deadlines import ENDED, StaffingConfig
from polyproc._scheduling.scheduler import Scheduler

JOBS = [object() for _ in range(6)]
CHUNKS = 8  # of a batch, the last job's but one
NOW = 1.0


class Died(Exception):
    pass


def is_broken_off(number, event):
    """Call `event`; raise KeyboardInterrupt before the `number`th line of the scheduler that runs. Return whether."""
    left = number

    def on_line(frame, what, arg):
        nonlocal left
        left -= what == "line"
        if left == 0:
            left = -1
            raise KeyboardInterrupt
        return on_line

    sys.settrace(lambda frame, what, arg: on_line if "_scheduling" in frame.f_code.co_filename else None)
    try:
        event()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def made():
    """Return a scheduler of two workers that have calls, while others wait; all that it asked for was done."""
    scheduler = Scheduler(StaffingConfig(2), None, MAX_TASKS)
    (start,) = scheduler.tick(NOW)
    for worker in start.workers:
        scheduler.worker_ready(worker, NOW)
    tasks = [QueuedTask(job, 0, "payload", "name", ResolvedOptions()) for job in JOBS[:4]]
    tasks.append(QueuedTask(JOBS[4], 0, None, "name", ResolvedOptions(), Batch(b"", 0, 0, CHUNKS, b"")))
    scheduler.submitted(tasks, NOW)
    scheduler.unperformed.clear()
    return scheduler


def submit(scheduler, busy):
    scheduler.submitted([QueuedTask(JOBS[5], 0, "payload", "name", ResolvedOptions())], NOW)


def answer(scheduler, busy):
    scheduler.answered(busy, [(True, None)], NOW, 0.1)


def answer_each(scheduler, busy):
    workers = [id for id, worker in scheduler.workers.items() for _, task in worker.tasks if task.batch is None]
    assert len(workers) > 1
    scheduler.answered_each([(id, None, 0.1) for id in workers], NOW)


def cancel(scheduler, busy):
    scheduler.cancelled(next(iter(scheduler.open)), NOW)


def lose_worker(scheduler, busy):
    scheduler.worker_ended(busy, [], Died(), NOW, was_killed=True)


def kill_workers(scheduler, busy):
    scheduler.workers_killed(True, NOW)


def terminate(scheduler, busy):
    scheduler.terminating(NOW)


def break_off(scheduler, busy):
    scheduler.broken_off(NOW, Died())


def outcomes_of(scheduler):
    """Do what is left, and return how often each chunk got an outcome."""
    found = collections.Counter()
    while scheduler.unperformed:
        for action in scheduler.unperformed.popleft()[1]:
            if type(action) is act.Settle:
                found[action.job, action.chunk] += 1
            elif type(action) is act.SettleAll:
                found.update((action.job, action.first + number) for number in range(len(action.outcomes)))
            elif type(action) is act.SettleEach:
                found.update((job, chunk) for job, chunk, _ in action.values)
            elif type(action) is act.Kill:
                scheduler.worker_ended(action.worker, [], Died(), NOW)
    return found


@pytest.mark.parametrize(
    "event", [submit, answer, answer_each, cancel, lose_worker, kill_workers, terminate, break_off]
)
def test_an_event_that_is_broken_off_anywhere_leaves_each_call_one_outcome(event):
    wanted = {(job, 0) for job in JOBS[:4]} | {(JOBS[4], chunk) for chunk in range(CHUNKS)}
    number, was_broken_off = 0, True
    while was_broken_off:
        number += 1
        scheduler = made()
        busy = next(id for id, worker in scheduler.workers.items() if worker.tasks)
        was_broken_off = is_broken_off(number, lambda scheduler=scheduler, busy=busy: event(scheduler, busy))
        scheduler.broken_off(NOW, Died())
        found = outcomes_of(scheduler)
        assert wanted <= found.keys() <= {*wanted, (JOBS[5], 0)}, number
        assert set(found.values()) == {1}, number
        assert scheduler.state == ENDED, number
    assert number > 5


def test_a_batch_that_is_split_as_it_is_broken_off_loses_no_chunk():
    number, was_broken_off = 0, True
    while was_broken_off:
        number += 1
        scheduler = Scheduler(StaffingConfig(2), None, MAX_TASKS)
        (start,) = scheduler.tick(NOW)
        scheduler.worker_ready(start.workers[0], NOW)
        task = QueuedTask(JOBS[4], 0, None, "name", ResolvedOptions(), Batch(b"", 0, 0, CHUNKS, b""))
        (sent,) = scheduler.submitted([task], NOW)
        scheduler.unperformed.clear()
        was_broken_off = is_broken_off(
            number,
            lambda scheduler=scheduler, sent=sent: scheduler.batch_split(sent.worker, sent.place, 3, NOW),
        )
        scheduler.broken_off(NOW, Died())
        assert outcomes_of(scheduler) == {(JOBS[4], chunk): 1 for chunk in range(CHUNKS)}, number
