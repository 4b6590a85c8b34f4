"""What a pool owes: pure state, against a model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyproc._pool.ledger import FEWEST, Batch, Ledger, Task

KINDS = ["open", "hand", "settle", "lose", "join", "leave", "take_back", "not_sent", "split"]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 5)), max_size=80)


def check_sums(ledger):
    """What the ledger keeps up to date is what a look at all accounts says."""
    accounts = ledger.accounts
    assert set(ledger.idle()) == {
        worker
        for worker, account in accounts.items()
        if not account.handed and not account.leaving and (ledger.maxtasks is None or account.done < ledger.maxtasks)
    }
    assert ledger.backlog() == len(list(ledger.waiting)) + sum(ledger.behind(worker) for worker in accounts)
    assert ledger._batches == sum(task.batch is not None for a in accounts.values() for _, task in a.handed)
    for account in accounts.values():
        assert account.chunks == sum(task.count for _, task in account.handed)
        assert account.load == pytest.approx(sum(task.load for _, task in account.handed))


class Model:
    """A ledger, and what became of each task that was opened."""

    def __init__(self, maxtasks, most):
        self.ledger = Ledger(maxtasks, most)
        self.opened, self.settled, self.lost, self.failed = [], [], [], []
        self.done = {}
        self.now = 0.0

    def open(self, worker, account, number):
        self.opened.append((len(self.opened), 0))
        batch = Batch(b"", 0, 0, number, b"") if number else None
        self.ledger.open(Task(self.opened[-1], b"x", "batch" if batch else "", batch))

    def join(self, worker, account, number):
        if account is None:
            self.ledger.join(worker, self.now)
            self.done[worker] = 0

    def leave(self, worker, account, number):
        self.ledger.leave(worker)

    def hand(self, worker, account, number):
        self.ledger.next_for(worker, self.now)

    def settle(self, worker, account, number):
        if account and account.handed:
            first = account.handed[0][1]
            task, leaves = self.ledger.settle(worker, self.now)
            assert task is first  # workers answer in order
            self.done[worker] += 1
            assert leaves == (self.ledger.maxtasks is not None and self.done[worker] >= self.ledger.maxtasks)
            self.settled.append(task.id)

    def take_back(self, worker, account, number):
        if account:
            self.ledger.take_back(worker, [place for place, _ in list(account.handed)[-number:]][:number])

    def not_sent(self, worker, account, number):
        if account and account.handed:
            self.failed.append(account.handed[-1][1].id)
            self.ledger.not_sent(worker)

    def split(self, worker, account, number):
        if account and account.handed and account.handed[0][1].batch:
            whole = account.handed[0][1].count
            found = self.ledger.split(worker, number)
            assert (found is not None) == (number < whole)
            if found is not None:
                assert (found[0].count, found[1].stop - found[1].start) == (number, whole - number)

    def lose(self, worker, account, number):
        if account:
            untaken = [place for place, _ in list(account.handed)[1:]] if number else None
            task = self.ledger.lost(worker, untaken)
            if task is not None:
                self.lost.append(task.id)


@given(steps=STEPS, maxtasks=st.none() | st.integers(1, 3), most=st.sampled_from([2, 64]))
@settings(max_examples=300, deadline=None)
def test_every_task_is_settled_once_lost_once_or_waits(steps, maxtasks, most):
    model = Model(maxtasks, most)
    ledger = model.ledger
    for step, worker, number in steps:
        model.now += number * 0.001
        getattr(model, step)(worker, ledger.accounts.get(worker), number)
        check_sums(ledger)
    for account in ledger.accounts.values():
        assert sum(task.count > 0 for _, task in account.handed) <= most
    handed = [task.id for account in ledger.accounts.values() for _, task in account.handed]
    waiting = [task.id for task in ledger.waiting]
    assert sorted(model.settled + model.lost + model.failed + handed + waiting) == model.opened
    assert ledger.is_settled() == (not handed and not waiting)
    ledger.drop_all()
    check_sums(ledger)


def ledger_with(tasks, **options):
    ledger = Ledger(**options)
    for index in range(tasks):
        ledger.open(Task((1, index), b""))
    ledger.join("worker", 0.0)
    return ledger


def test_a_worker_that_answers_what_it_was_not_asked_is_an_error():
    with pytest.raises(ValueError, match="asked nothing"):
        ledger_with(1).settle("worker", 0.0)


def test_a_worker_has_few_long_tasks_and_many_short_ones():
    ledger = ledger_with(400)
    now = 0.0

    def handed():
        while ledger.next_for("worker", now):
            pass
        return len(ledger.accounts["worker"].handed)

    assert handed() == FEWEST
    for _ in range(100):
        now += 0.00001
        ledger.settle("worker", now)

        handed()
    assert handed() > 20
    while len(ledger.accounts["worker"].handed) > 1:
        now += 1.0
        ledger.settle("worker", now)
    assert handed() == FEWEST


def test_the_dead_lose_what_they_ran_and_nothing_else():
    ledger = ledger_with(3)
    places = [ledger.next_for("worker", 0.0)[0] for _ in range(2)]
    assert ledger.lost("worker", places) is None  # it had taken nothing
    assert [task.id[1] for task in ledger.waiting] == [0, 1, 2]
    ledger.join("other", 0.0)
    for _ in range(2):
        ledger.next_for("other", 0.0)
    assert ledger.lost("other", None).id == (1, 0)
    assert [task.id[1] for task in ledger.waiting] == [1, 2]
    assert ledger.lost("nobody", []) is None


def test_the_rich_are_those_with_most():
    ledger = ledger_with(9)
    ledger.join("idle", 0.0)
    ledger.join("other", 0.0)
    now = 0.0
    for _ in range(2):
        ledger.next_for("worker", now)
    for _ in range(3):
        ledger.next_for("other", now)
        ledger.settle("other", now) if ledger.accounts["other"].handed else None
    assert ledger.rich() == ["worker"]
    assert ledger.behind("worker") == 1


def test_the_rest_of_a_batch_in_parts():
    batch = Batch(b"", 0, 10, 20, b"")
    assert [(part.start, part.stop) for part in batch.parts(13, 3)] == [(13, 15), (15, 17), (17, 20)]
    assert [(part.start, part.stop) for part in batch.parts(18, 5)] == [(18, 19), (19, 20)]


def test_short_tasks_go_to_who_is_awake_and_long_ones_to_who_has_nothing():
    ledger = ledger_with(2)
    ledger.join("idle", 0.0)
    assert ledger.next_for("worker", 0.0)
    assert ledger.next_for("worker", 0.0) is None  # nobody knows how long they take
    ledger.settle("worker", 0.0, took=0.00001)
    handed = 0
    while ledger.next_for("worker", 0.0) or ledger.next_for("worker", 0.0):
        ledger.open(Task((2, handed), b""))
        handed += 1
    assert 5 < handed < 15  # what it does sooner than another could be woken
    assert ledger.idle() == ["idle"]
    assert not ledger.rich()
    assert ledger.is_uneven()  # and so it is looked at again, in case they are long all the same


def test_what_is_known_of_one_function_says_nothing_of_another():
    ledger = Ledger()
    ledger.join("worker", 0.0)
    ledger.open(Task((1, 0), b"", "short"))
    ledger.next_for("worker", 0.0)
    ledger.settle("worker", 0.0, took=0.000002)
    assert ledger.batch_size(10000, "short") > 10
    assert ledger.batch_size(10000, "other") == 1
    assert ledger.is_short("short")
    assert not ledger.is_short("other")


def test_nothing_goes_together_where_nothing_can_be_taken_back():
    ledger = Ledger(most=1)
    ledger.join("worker", 0.0)
    ledger.open(Task((1, 0), b"", "short"))
    ledger.next_for("worker", 0.0)
    ledger.settle("worker", 0.0, took=0.000002)
    assert ledger.batch_size(10000, "short") == 1
