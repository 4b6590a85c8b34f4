"""Who gets which task: how many, which first, what is taken back."""

import pytest

from polyproc._scheduling.actions import (
    ClearInterrupt,
    Interrupt,
    Kill,
    ResolvedOptions,
    Send,
    SendAll,
    Settle,
    SplitBatch,
    TakeBack,
)
from polyproc._scheduling.assignments import MAX_TASKS, MIN_TASKS, Batch, QueuedTask
from polyproc._scheduling.deaths_and_deadlines import StaffingConfig
from polyproc._scheduling.scheduler import Scheduler

PLAIN = ResolvedOptions()


class Pool:
    """A scheduler with ready workers, that are named 1, 2, ...; each event notes what is sent to them."""

    def __init__(self, size=1, max_tasks=None, max_behind=MAX_TASKS):
        self.scheduler = Scheduler(StaffingConfig(size), max_tasks, max_behind)
        self.now = 0.0
        self.scheduler.tick(0.0)
        for id in list(self.scheduler.workers):
            self.scheduler.worker_ready(id, 0.0)
        self.sent = []

    def submit(self, count=1, name="", options=PLAIN, batch=None):
        tasks = [QueuedTask("job", index, None, name, options, batch) for index in range(count)]
        return tasks, self.note(self.scheduler.submitted(tasks, self.now))

    def answer(self, worker, took=None, success=True, value=None):
        return self.note(self.scheduler.answered(worker, [(success, value)], self.now, took))

    def note(self, actions):
        for action in actions:
            tasks = action.tasks if type(action) is SendAll else [action[1:]] if type(action) is Send else []
            self.sent += [(action.worker, task.index) for _, task in tasks]
        return actions

    def has(self, worker):
        return [task.index for _, task in self.scheduler.workers[worker].tasks]


def kinds(actions):
    return [type(action) for action in actions]


def test_a_worker_that_answers_what_it_was_not_asked_changes_nothing():
    pool = Pool()
    assert pool.answer(1) == []
    assert pool.answer(7) == []
    assert pool.scheduler.totals.done == 0


def test_a_worker_has_few_long_tasks_and_many_short_ones():
    pool = Pool()
    pool.submit(400)
    assert len(pool.has(1)) == MIN_TASKS
    for _ in range(100):
        pool.now += 0.00001
        pool.answer(1)
    assert len(pool.has(1)) > 20
    while len(pool.has(1)) > 1 and pool.scheduler.assignments.pending.count:
        pool.now += 1.0
        pool.answer(1)
    assert len(pool.has(1)) == MIN_TASKS


def test_the_dead_lose_what_they_ran_and_nothing_else():
    pool = Pool()
    pool.submit(3)
    assert pool.has(1) == [0, 1]
    actions = pool.note(pool.scheduler.worker_ended(1, [1, 2], OSError(), 0.0))  # it had begun nothing
    assert Settle not in kinds(actions)
    assert [task.index for task in pool.scheduler.assignments.pending] == [0, 1, 2]
    pool.note(pool.scheduler.worker_ready(2, 0.0))
    assert pool.has(2) == [0, 1]
    error = OSError()
    actions = pool.scheduler.worker_ended(2, None, error, 0.0)  # what it had begun cannot be told
    assert [(action.chunk, action.value) for action in actions if type(action) is Settle] == [(0, error)]
    assert [task.index for task in pool.scheduler.assignments.pending] == [1, 2]
    assert pool.scheduler.worker_ended(9, [], error, 0.0) == []


def test_the_rest_of_a_batch_in_parts():
    batch = Batch(b"", 0, 13, 20, b"")
    assert [(part.start, part.stop) for part in batch.parts(3)] == [(13, 15), (15, 17), (17, 20)]
    assert [(part.start, part.stop) for part in batch._replace(start=18).parts(5)] == [(18, 19), (19, 20)]


def test_short_tasks_go_to_a_worker_that_is_awake_and_long_ones_to_one_that_has_nothing():
    pool = Pool(2)
    pool.submit(2)
    assert sorted(worker for worker, _ in pool.sent) == [1, 2]  # nobody knows how long they take
    for worker in (1, 2):
        pool.answer(worker, took=0.00001)
    last = pool.scheduler.assignments.last.id
    pool.sent.clear()
    for _ in range(7):
        pool.submit(1)
    assert len({worker for worker, _ in pool.sent}) == 1  # one does them sooner than the other could be woken
    assert pool.scheduler.next_tick() < 0.01  # and so it is looked at again, in case they are long all the same
    for _ in range(30):
        pool.submit(1)
    assert {worker for worker, _ in pool.sent} == {1, 2}
    assert last in (1, 2)


def test_an_idle_worker_gets_what_another_has_not_begun():
    pool = Pool(2)
    pool.submit(2)
    pool.submit(2)
    assert [len(pool.has(1)), len(pool.has(2))] == [2, 2]
    pool.answer(1)
    actions = pool.answer(1)
    assert kinds(actions) == [Settle, TakeBack]
    place = pool.scheduler.workers[2].tasks[-1][0]
    assert actions[1] == TakeBack(2, 1, place)
    assert kinds(pool.note(pool.scheduler.taken_back(actions[1], [place], False, 0.0))) == [Send]
    assert [len(pool.has(1)), len(pool.has(2))] == [1, 1]


def test_nobody_is_asked_twice_for_what_it_has_begun():
    pool = Pool(2)
    pool.submit(2)
    pool.submit(2)
    pool.answer(1)
    settled, asked = pool.answer(1)
    assert kinds([settled, asked]) == [Settle, TakeBack]
    assert pool.scheduler.taken_back(asked, [], False, 0.0) == []


def test_what_stands_behind_a_long_task_is_shared():
    pool = Pool(2)
    for _ in range(2):
        pool.submit(2, "short")
        for worker in (1, 2):
            pool.answer(worker, took=0.000001)
    pool.submit(8, "short")
    assert {worker for worker, _ in pool.sent[-8:]} in ({1}, {2})
    pool.now = pool.scheduler.next_tick()
    actions = pool.scheduler.tick(pool.now)
    assert kinds(actions) == [TakeBack]
    assert actions[0].most == len(pool.has(actions[0].worker)) - 1 > 5


def test_the_rest_of_a_batch_whose_chunk_is_long_is_shared():
    pool = Pool(2)
    pool.submit(1, batch=Batch(b"", 0, 0, 9, b""))
    pool.now = 0.005
    actions = pool.scheduler.tick(pool.now)
    assert kinds(actions) == [SplitBatch]
    parts = pool.scheduler.batch_split(actions[0].worker, actions[0].place, 3, pool.now)
    assert [(action.task.index, action.task.count) for action in parts if type(action) is Send] == [(3, 3)]
    assert [task.index for task in pool.scheduler.assignments.pending] == [6]


def test_what_is_known_of_one_function_says_nothing_of_another():
    pool = Pool()
    pool.submit(1, "short")
    pool.answer(1, took=0.000002)
    assignments = pool.scheduler.assignments
    assert assignments.batch_size(10000, "short") > 10
    assert assignments.batch_size(10000, "other") == 1


def test_nothing_goes_together_where_nothing_can_be_taken_back():
    pool = Pool(max_behind=1)
    pool.submit(1, "short")
    pool.answer(1, took=0.000002)
    assert pool.scheduler.assignments.batch_size(10000, "short") == 1


def test_a_limit_is_told_twice_and_in_time():
    pool = Pool()
    pool.submit(1, options=ResolvedOptions(timeout=10.0, grace=2.0))
    assert pool.scheduler.next_tick() == 10.0
    assert pool.scheduler.tick(9.9) == []
    assert pool.scheduler.tick(10.0) == [Interrupt(1, 1, 1)]
    assert pool.scheduler.tick(10.0) == []
    assert pool.scheduler.next_tick() == 12.0
    assert pool.scheduler.tick(12.0) == [Kill(1, False)]


def test_a_call_that_ends_in_time_lets_its_worker_go_on():
    pool = Pool()
    pool.submit(2, options=ResolvedOptions(timeout=10.0))
    pool.scheduler.tick(10.0)
    pool.now = 10.5
    assert ClearInterrupt in kinds(pool.answer(1, success=False, value=TimeoutError()))
    pool.scheduler.tick(11.0)
    assert pool.scheduler.next_tick() == 20.5  # the next call's time began when it did


@pytest.mark.parametrize("kind", [OSError, (KeyError, OSError)])
def test_what_is_retried_is_what_except_would_catch(kind):
    pool = Pool()
    pool.submit(1, options=ResolvedOptions(retries=1, retry_on=kind))
    assert Settle not in kinds(pool.answer(1, success=False, value=TimeoutError()))
    actions = pool.answer(1, success=False, value=TimeoutError())
    assert [action.attempts for action in actions if type(action) is Settle] == [(2, 2)]


def test_user_code_does_not_decide_what_is_retried():
    class Odd(type):
        def __instancecheck__(cls, instance):
            raise RuntimeError("user code runs in the scheduler")

        __subclasscheck__ = __instancecheck__

    class OddError(Exception, metaclass=Odd):
        pass

    pool = Pool()
    pool.submit(1, options=ResolvedOptions(retries=1, retry_on=OddError))
    assert Settle in kinds(pool.answer(1, success=False, value=KeyError()))


def test_what_stands_behind_a_batch_of_which_nothing_is_begun_stands_behind_it():
    pool = Pool(2)
    pool.submit(1, "short")
    pool.answer(pool.sent[-1][0], took=0.00001)
    pool.submit(1, "short", batch=Batch(b"", 0, 0, 9, b""))
    slow, other = pool.sent[-1][0], 3 - pool.sent[-1][0]
    pool.now = pool.scheduler.next_tick()
    (split,) = pool.scheduler.tick(pool.now)
    pool.note(pool.scheduler.batch_split(slow, split.place, 0, pool.now))
    while len(pool.has(slow)) < 2:
        pool.submit(1, "other")
    pool.note(pool.scheduler.answered(slow, [], pool.now, 0.00001))
    for worker in (slow, other):
        while pool.has(worker):
            pool.answer(worker, took=0.00001)
    pool.scheduler.tick(1.0)
    assert pool.scheduler.next_tick() == float("inf")
    assert pool.scheduler.assignments.backlog() == 0
    pool.submit(2, "short")
    assert pool.sent[-1][0] == pool.sent[-2][0]
    assert pool.scheduler.next_tick() < 0.1  # the second is not left behind the first


@pytest.mark.parametrize("note", [True, False])
def test_who_has_nothing_after_all_is_heard_gets_what_others_have_not_begun(note):
    pool = Pool(2)
    pool.submit(3)
    idle = next(worker for worker in (1, 2) if len(pool.has(worker)) == 1)
    pool.scheduler.tick(0.005)
    pool.scheduler.answered(idle, [(True, None)], 0.005, 0.005, note)
    assert pool.scheduler.waits_for_more == note
    actions = pool.scheduler.all_heard(0.005) if note else []
    assert note == (TakeBack in kinds(actions))
    assert pool.scheduler.next_tick() < 0.1
    assert not pool.scheduler.waits_for_more


def test_a_worker_that_could_not_be_asked_is_asked_again():
    pool = Pool(2)
    pool.submit(4)
    task = pool.scheduler.workers[1].tasks[0][1]
    asked = TakeBack(1, 2, 2)
    assert pool.scheduler.cancelled(task, 0.0)[1] == asked
    assert pool.scheduler.taken_back(asked, [], True, 0.0) == []
    assert pool.scheduler.next_tick() < 0.1
    assert asked in pool.scheduler.tick(0.1)
    assert Interrupt in kinds(pool.scheduler.taken_back(asked, [2], False, 0.1))


def test_what_is_sent_after_a_worker_is_asked_is_not_taken_for_begun():
    pool = Pool(2)
    pool.submit(3)
    (rich,) = (worker for worker in (1, 2) if len(pool.has(worker)) == 2)
    first, second = (task for _, task in pool.scheduler.workers[rich].tasks)
    (_, asked) = pool.scheduler.cancelled(first, 0.0)
    later = pool.scheduler.cancelled(second, 0.0) + pool.scheduler.taken_back(asked, [2], False, 0.0)
    assert Interrupt in kinds(later)
    pool.submit(2)
    worker = pool.scheduler.workers[rich]
    assert len(worker.tasks) == 2
    assert worker.untaken == 1
    pool.scheduler.taken_back(asked, [], False, 0.0)  # what it was asked before the last one was sent
    assert worker.untaken == 1


def test_a_batch_that_begins_no_more_is_not_asked_again():
    pool = Pool(2)
    pool.submit(1, batch=Batch(b"", 0, 0, 9, b""))
    (split,) = pool.scheduler.tick(0.005)
    pool.scheduler.batch_split(split.worker, split.place, 8, 0.005)
    for worker in (1, 2):
        if worker != split.worker:
            pool.scheduler.answered(worker, [(True, None)], 0.006)
    pool.scheduler.tick(0.02)
    assert pool.scheduler.next_tick() == float("inf")
