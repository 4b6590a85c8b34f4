"""What a pool owes: pure state, against a model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyproc._pool.ledger import FEWEST, Batch, Ledger, Task

KINDS = ["open", "hand", "settle", "lose", "join", "take back"]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 5)), max_size=80)


@given(steps=STEPS, maxtasks=st.none() | st.integers(1, 3), most=st.sampled_from([2, 64]))
@settings(max_examples=300, deadline=None)
def test_every_task_is_settled_once_lost_once_or_waits(steps, maxtasks, most):
    ledger = Ledger(maxtasks, most)
    opened, settled, lost = [], [], []
    done, now = {}, 0.0
    for step, worker, number in steps:
        now += number * 0.001
        account = ledger.accounts.get(worker)
        if step == "open":
            opened.append((len(opened), 0))
            ledger.open(Task(opened[-1], b"x"))
        elif step == "join" and account is None:
            ledger.join(worker, now)
            done[worker] = 0
        elif step == "hand":
            ledger.next_for(worker, now)
        elif step == "settle" and account and account.handed:
            first = account.handed[0][1]
            task, leaves = ledger.settle(worker, now)
            assert task is first  # workers answer in order
            done[worker] += 1
            assert leaves == (maxtasks is not None and done[worker] >= maxtasks)
            settled.append(task.id)
        elif step == "take back" and account:
            ledger.take_back(worker, [place for place, _ in list(account.handed)[-number:]][:number])
        elif step == "lose" and account:
            untaken = [place for place, _ in list(account.handed)[1:]] if number else None
            task = ledger.lost(worker, untaken)
            if task is not None:
                lost.append(task.id)
    for account in ledger.accounts.values():
        assert len(account.handed) <= most
    handed = [task.id for account in ledger.accounts.values() for _, task in account.handed]
    waiting = [task.id for task in ledger.waiting]
    assert sorted(settled + lost + handed + waiting) == opened
    assert ledger.is_settled() == (not handed and not waiting)
    assert set(ledger.idle()) <= {w for w, account in ledger.accounts.items() if not account.handed}


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
