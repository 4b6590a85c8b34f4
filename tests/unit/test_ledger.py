"""What a pool owes: pure state, against a model."""

from hypothesis import given, settings
from hypothesis import strategies as st

from polyproc._pool.ledger import PREFETCH, Ledger, Task

STEPS = st.lists(st.tuples(st.sampled_from(["open", "hand", "settle", "lose", "join"]), st.integers(0, 3)), max_size=80)


@given(steps=STEPS, maxtasks=st.none() | st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_every_task_is_settled_once_lost_once_or_waits(steps, maxtasks):
    ledger = Ledger(maxtasks)
    opened, settled, lost = [], [], []
    done = {}
    for step, worker in steps:
        if step == "open":
            opened.append((len(opened), 0))
            ledger.open(Task(opened[-1], b"x"))
        elif step == "join" and worker not in ledger.accounts:
            ledger.join(worker)
            done[worker] = 0
        elif step == "hand":
            ledger.next_for(worker)
        elif step == "settle" and worker in ledger.accounts and ledger.accounts[worker].handed:
            task = ledger.accounts[worker].handed[0]
            done[worker] += 1
            assert ledger.settle(worker, task.id) == (maxtasks is not None and done[worker] >= maxtasks)
            settled.append(task.id)
        elif step == "lose":
            task = ledger.lost(worker)
            if task is not None:
                lost.append(task.id)
    for account in ledger.accounts.values():
        assert len(account.handed) <= PREFETCH
    handed = [task.id for account in ledger.accounts.values() for task in account.handed]
    waiting = [task.id for task in ledger.waiting]
    assert sorted(settled + lost + handed + waiting) == opened
    assert ledger.is_settled() == (not handed and not waiting)


def test_a_worker_that_answers_what_it_was_not_asked_is_an_error():
    ledger = Ledger()
    ledger.join("worker")
    ledger.open(Task((1, 0), b""))
    ledger.next_for("worker")
    try:
        ledger.settle("worker", (2, 0))
    except ValueError as error:
        assert "not the task that it runs" in str(error)
    else:
        raise AssertionError("it was accepted")


def test_large_tasks_are_not_prefetched():
    ledger = Ledger()
    ledger.join("worker")
    for index in range(2):
        ledger.open(Task((1, index), bytes(100_000)))
    assert ledger.next_for("worker").id == (1, 0)
    assert ledger.next_for("worker") is None
