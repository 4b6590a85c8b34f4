"""The tasks that no worker has, against a model; options and amounts of memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyproc._pool.calls import DEFAULT_OPTIONS, bytes_of, resolved
from polyproc._scheduling.actions import ResolvedOptions
from polyproc._scheduling.assignments import DONE, PendingTasks, QueuedTask

STEPS = st.lists(st.tuples(st.sampled_from(["append", "appendleft", "popleft", "remove"]), st.integers(-2, 2)))


def task(priority):
    return QueuedTask(None, 0, None, "", ResolvedOptions(priority=priority))


@given(steps=STEPS)
def test_pending_tasks_are_a_list_sorted_by_priority(steps):
    pending, model, gone = PendingTasks(), [], []
    for step, number in steps:
        if step == "popleft":
            if model:
                assert pending.first() is model[0]
                gone.append(pending.popleft())
                assert gone[-1] is model.pop(0)
            else:
                with pytest.raises(IndexError):
                    pending.popleft()
                with pytest.raises(IndexError):
                    pending.first()
        elif step == "remove" and model:
            removed = model.pop(number % len(model))
            pending.remove(removed)
            assert removed.state == DONE
        elif step == "append":
            model.append(task(number))
            pending.append(model[-1])
        elif step == "appendleft":
            model.insert(0, gone.pop() if gone else task(number))  # what was taken back comes again
            pending.appendleft(model[0])
        model.sort(key=lambda item: -item.options.priority)
        assert pending.count == len(model)
        assert list(pending) == model


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
    options = resolved(resolved(DEFAULT_OPTIONS, {"timeout": 3.0}), {"retries": 2})
    assert (options.timeout, options.retries, options.are_for_one) == (3.0, 2, True)
    assert not resolved(DEFAULT_OPTIONS, {"priority": 3}).are_for_one
    assert not options.retries_timeouts
    assert resolved(options, {"retry_on": (OSError, KeyError)}).retries_timeouts  # a TimeoutError is an OSError
