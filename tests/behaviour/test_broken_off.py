"""A Ctrl-C that comes at any point of a call into a pool leaves nothing behind, and nobody waiting."""

import concurrent.futures
import contextlib
import gc
import os
import threading
import types

import pytest

import polyproc
import polyproc.connection
from conftest import eventually, open_fds
from polyproc._managers.links import Anchor
from polyproc._platform.handles import WakePipe, children_of
from polyproc._scheduling.actions import VALUE, Settle, SettleEach
from polyproc._workers.engine import Outcomes
from polyproc.pool import ThreadPool
from support import pool_work
from support.broken_off import HOUSE, is_broken_off

OURS = tuple(os.path.join(HOUSE, name) for name in ("_pool", "_workers", "_scheduling", "_platform/handles.py"))


def threads_of_pools():
    return [thread for thread in threading.enumerate() if thread.name.startswith("polyproc")]


def made_and_dropped(context):
    return lambda: context.Pool(2), lambda: None


def first_submit(context):
    executor = polyproc.ProcessPoolExecutor(2, context)
    return lambda: executor.submit(abs, -1), executor.shutdown


def closed_and_joined(context):
    pool = context.Pool(1)
    return pool.close, lambda: (pool.close(), pool.join())


def break_off_at_each(make, context, first, step):
    """Break an act off at each `step`th point; return when it has none left."""
    act, end = make(context)
    act()
    end()
    del act, end
    number, more = first, True
    while more:
        polyproc.active_children()
        gc.collect()
        fds, children = open_fds(), set(children_of(os.getpid()))
        act, end = make(context)
        more = is_broken_off(act, number, where=OURS)
        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), f"no end after point {number}"
        del act, end, thread

        def is_nothing_left(fds=fds, children=children):
            polyproc.active_children()
            return not threads_of_pools() and set(children_of(os.getpid())) <= children and len(open_fds()) <= len(fds)

        gc.collect()
        eventually(lambda: is_nothing_left() or (gc.collect() and False))
        number += step


ACTS = [made_and_dropped, first_submit, closed_and_joined]


@pytest.mark.filterwarnings("ignore")  # what is dropped says so
@pytest.mark.parametrize("act", ACTS)
def test_an_interruption_at_any_point_of_an_act_leaves_nothing(act, monkeypatch):
    monkeypatch.setattr("sys.unraisablehook", lambda dropped: None)
    break_off_at_each(act, polyproc.get_context("fork"), first=3, step=23)


@pytest.mark.chaos
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("act", ACTS)
def test_an_interruption_at_each_point_of_an_act_leaves_nothing(act, monkeypatch):
    monkeypatch.setattr("sys.unraisablehook", lambda dropped: None)
    break_off_at_each(act, polyproc.get_context("fork"), first=1, step=3)


def test_a_pipe_that_was_made_is_closed_wherever_its_maker_is_broken_off():
    before, number, more = open_fds(), 0, True
    while more:
        number += 1
        made = []
        more = is_broken_off(lambda made=made: made.append(WakePipe()), number, OURS)
        made.clear()
        gc.collect()
        assert open_fds() == before, number


def test_outcomes_are_delivered_though_an_earlier_delivery_was_broken_off():
    class Silent:
        _keeps = None
        _calls_back = False

        def _settle(self, index, success, value):
            return False

    number, more = 0, True
    while more:
        number += 1
        outcomes = Outcomes()
        outcomes.add(Settle(Silent(), 0, VALUE))
        more = is_broken_off(outcomes.deliver, number, OURS)
        outcomes.deliver()
        assert not outcomes._settles.locked() and not outcomes.waiting, number


def test_values_that_are_handed_out_together_are_lost_to_nobody_but_the_one_that_was_broken_off():
    class Noted:
        _keeps = None
        _calls_back = False

        def _settle(self, index, success, value):
            settled.append((self, index))
            return False

        def _settle_run(self, values):
            settled.extend(value[:2] for value in values)
            return False

    number, more = 0, True
    while more:
        number += 1
        settled, outcomes = [], Outcomes()
        one, other = Noted(), Noted()
        wanted = [(one, 0), (other, 0), (other, 1), (one, 1)]
        outcomes.add(SettleEach([(*each, "value") for each in wanted]))
        more = is_broken_off(outcomes.deliver, number)
        outcomes.deliver()
        assert not outcomes._settles.locked() and not outcomes.waiting, number
        lost = [each for each in wanted if each not in settled]
        assert lost == [] or (more and lost in (wanted[:1], wanted[1:3], wanted[3:])), number
        assert settled == [each for each in wanted if each not in lost], number


# -- what tasks do to their workers -------------------------------------------------------------------------------------


def forks(number):
    """Return twice: in the worker, and in a copy of it."""
    os.fork()
    return number


def test_a_copy_that_a_task_has_forked_of_its_worker_is_none(ctx):
    with ctx.Pool(2) as pool:
        calls = [pool.apply_async(forks if number % 2 else abs, (number,)) for number in range(20)]
        assert [call.get(20) for call in calls] == list(range(20))
        workers = [worker.pid for worker in pool._pool]
        assert pool.map(forks, range(20), 1) == list(range(20))
        assert pool.map(abs, range(20), 1) == list(range(20))
        eventually(lambda: not any(copies_of(worker) for worker in workers))


def copies_of(pid):
    """Return the children of a process that have not ended."""
    found = []
    for child in children_of(pid):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{child}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] != "Z":
                found.append(child)
    return found


def closes_all_and_opens(folder):
    """Close all descriptors as a daemon does; return files of one's own that have got their numbers."""
    os.closerange(0, 64)
    pool_work.kept = [open(f"{folder}/{number}", "w") for number in range(40)]


def written(folder):
    return {name: size for name in os.listdir(folder) if (size := os.path.getsize(folder / name))}


def test_a_task_that_closes_all_descriptors_costs_no_other_and_its_files_are_left_alone(ctx, tmp_path):
    with ctx.Pool(2) as pool:
        for _ in range(2):
            with contextlib.suppress(polyproc.ProcessDied):  # without the core, its result has no way
                pool.apply_async(closes_all_and_opens, (tmp_path,)).get(20)
            assert pool.map(abs, range(20), 1) == list(range(20))
        pool.close()
        pool.join()
    assert len(os.listdir(tmp_path)) == 40
    assert not written(tmp_path)


def test_a_process_that_closes_all_descriptors_writes_nothing_of_ours_into_its_files(ctx, tmp_path):
    process = ctx.Process(target=closes_all_and_opens, args=(tmp_path,))
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert len(os.listdir(tmp_path)) == 40
    assert not written(tmp_path)


class Unspeakable(Exception):
    """Nothing about it can be told."""

    def __getattribute__(self, name):
        raise SystemExit(name)

    def __str__(self):
        raise KeyboardInterrupt

    __repr__ = __str__

    def __reduce_ex__(self, protocol):
        raise Unspeakable


class HasOddNotes(Exception):
    @property
    def __notes__(self):
        raise SystemExit("no notes")


class Unsendable:
    def __init__(self, kind):
        self.kind = kind

    def __repr__(self):
        raise SystemExit

    def __reduce__(self):
        raise self.kind


def raises(kind):
    raise kind


@pytest.mark.parametrize("kind", [Unspeakable, HasOddNotes])
@pytest.mark.parametrize("function", [raises, Unsendable])
def test_an_error_that_cannot_be_shown_costs_its_call_alone(ctx, kind, function):
    with ctx.Pool(1) as pool:
        worker = pool.apply(os.getpid)
        for make in (
            lambda: pool.apply_async(function, (kind,)),
            lambda: pool.map_async(function, [kind] * 10, 1),
        ):
            with pytest.raises(Exception):  # noqa: B017  (which, is of no matter here)
                make().get(20)
        assert pool.apply(os.getpid) == worker


class HasNoClass:
    """A result that raises when it is asked what it is, as a proxy of nothing does."""

    def __getattribute__(self, name):
        if name == "__class__":
            raise ReferenceError("it is gone")
        return super().__getattribute__(name)


class BecomesOne:
    def __reduce__(self):
        return HasNoClass, ()


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_a_result_that_raises_when_it_is_looked_at_is_handed_out(kind):
    make, returned = {
        "processes": (polyproc.get_context("fork").Pool, BecomesOne),
        "threads": (ThreadPool, HasNoClass),
    }[kind]
    with make(1) as pool:
        assert type(pool.apply_async(returned).get(20)) is HasNoClass
        assert type(pool.submit(returned).result(20)) is HasNoClass
        assert type(pool.imap(call, [returned]).next(20)) is HasNoClass


def call(function):
    return function()


def broken_off_at_each_point(act, part):
    """Break an act off at each of its points in one of our modules."""
    number = 1
    while is_broken_off(act, number, where=(os.path.join(HOUSE, part),)):
        number += 1
        assert number < 1000


def test_what_a_process_says_to_a_server_is_said_whatever_is_broken_off():
    """Nobody says anything any more where an interruption has kept the turn to speak."""
    sent = []
    anchor = Anchor(lambda word: types.SimpleNamespace(send=sent.append))
    broken_off_at_each_point(lambda: anchor.say("incref", "x"), "_managers/links")
    sent.clear()
    anchor.say("decref", "y")
    assert ("decref", "y") in sent


def test_a_listener_can_be_closed_after_a_close_that_was_broken_off():
    with polyproc.connection.Listener() as listener:
        admission = listener._admission
        broken_off_at_each_point(admission._clear, "_connection/admission")
        with concurrent.futures.ThreadPoolExecutor(1) as threads:  # the lock is free for another thread
            assert threads.submit(admission._clear).result(20)
