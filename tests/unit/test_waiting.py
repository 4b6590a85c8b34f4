"""The tasks that no worker has, against a model; and limits of time."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyproc._pool.options import PLAIN, bytes_of
from polyproc._pool.overtime import Overtime
from polyproc._pool.waiting import Waiting


@dataclass(eq=False)
class Item:
    priority: int
    withdrawn: bool = False
    waits: bool = False


STEPS = st.lists(st.tuples(st.sampled_from(["append", "appendleft", "popleft", "withdraw"]), st.integers(-2, 2)))


@given(steps=STEPS)
@settings(deadline=None)
def test_waiting_is_a_list_sorted_by_priority(steps):
    waiting, model, gone = Waiting(), [], []
    for step, number in steps:
        if step == "popleft":
            if model:
                gone.append(waiting.popleft())
                assert gone[-1] is model.pop(0)
            else:
                with pytest.raises(IndexError):
                    waiting.popleft()
        elif step == "withdraw" and model:
            waiting.withdraw(model.pop(number % len(model)))
        elif step == "withdraw" and gone:
            waiting.withdraw(gone.pop())  # it does not wait any more: nothing changes
        elif step == "append":
            model.append(Item(number))
            waiting.append(model[-1])
        elif step == "appendleft":
            model.insert(0, Item(number))
            waiting.appendleft(model[0])
        model.sort(key=lambda item: -item.priority)
        assert len(waiting) == len(model)
        assert list(waiting) == model
    waiting.clear()
    assert not waiting
    for item in model:
        waiting.withdraw(item)
    assert len(waiting) == 0


def test_limits_are_told_once_and_in_time():
    overtime = Overtime()
    assert overtime.next_at() == float("inf")
    overtime.begin(1, 7, 10.0)
    overtime.begin(2, 8, 5.0)
    assert overtime.next_at() == 5.0
    assert overtime.due(4.9) == []
    assert [(worker, limit.place, limit.hard) for worker, limit in overtime.due(6.0)] == [(2, 8, False)]
    assert overtime.due(6.0) == []
    assert overtime.next_at() == 10.0
    overtime.begin(2, 8, 7.0, hard=True)
    overtime.end(1)
    overtime.end(3)
    assert [(worker, limit.hard) for worker, limit in overtime.due(100.0)] == [(2, True)]


@pytest.mark.parametrize(
    ("said", "meant"),
    [(1000, 1000), ("1000", 1000), ("1kB", 1000), ("1.5 GiB", 3 << 29), ("200 MB", 200 * 10**6), ("1t", 10**12)],
)
def test_amounts_of_memory(said, meant):
    assert bytes_of(said) == meant


@pytest.mark.parametrize("said", ["", "much", "1 PB", "-3", 0, -1, "0"])
def test_what_is_no_amount_of_memory(said):
    with pytest.raises(ValueError, match="amount of memory"):
        bytes_of(said)


def test_options_add_up():
    terms = PLAIN.with_({"timeout": 3.0}).with_({"retries": 2})
    assert (terms.timeout, terms.retries, terms.are_for_one) == (3.0, 2, True)
    assert not PLAIN.with_({"priority": 3}).are_for_one
