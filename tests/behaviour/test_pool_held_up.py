"""Code of the user's that does not return, in the pool's own process, holds up nothing that is not its own."""

import itertools
import threading
import time

import pytest

import polyproc
from conftest import eventually
from polyproc._workers.worker_set import MOMENT, Away, Leader, Monitor
from polyproc.pool import ProcessPoolExecutor, ThreadPool
from support import pool_work

LIMIT = 20.0
goes_on = threading.Event()


@pytest.fixture(autouse=True)
def _held():
    """What is held is let go in the end."""
    goes_on.clear()
    yield
    goes_on.set()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("polyproc-pool")])


def opens_late():
    if polyproc.parent_process() is None:  # a worker opens its own errors, to see whether that can be
        goes_on.wait(2 * LIMIT)
    return "late"


class OpensLate:
    """A value that lasts to be opened."""

    def __reduce__(self):
        return opens_late, ()


class OpensLateError(Exception):
    def __reduce__(self):
        return opens_late_error, ()


def opens_late_error():
    return OpensLateError(opens_late())


class OpensLateAndIsLarge:
    def __init__(self):
        self.data = b"x" * 1_000_000

    def __setstate__(self, state):
        opens_late()


def late(number=0):
    return OpensLate()


def late_and_large():
    return OpensLateAndIsLarge()


def late_error():
    raise OpensLateError


def rest_goes_on(pool):
    """Assert that a pool does all that it does for others."""
    assert [pool.apply_async(pool_work.double, (n,)).get(LIMIT) for n in range(4)] == [0, 2, 4, 6]
    assert pool.map_async(pool_work.double, range(100), 1).get(LIMIT) == list(range(0, 200, 2))
    assert sorted(pool.imap_unordered(pool_work.double, range(4))) == [0, 2, 4, 6]
    with pytest.raises(TimeoutError):
        pool.options(timeout=0.1, grace=0.1).submit(time.sleep, 2 * LIMIT).result(LIMIT)


@pytest.mark.parametrize("function", [late, late_and_large, late_error])
def test_a_value_that_cannot_be_opened_holds_up_no_other(ctx, function):
    with ctx.Pool(2) as pool:
        held = [pool.apply_async(function), pool.submit(function)]
        rest_goes_on(pool)
        assert not held[0].ready() and not held[1].done()
        goes_on.set()
        assert (held[1].exception(LIMIT) is None) == (function is not late_error)
        held[0].wait(LIMIT)
        assert held[0].successful() == (function is not late_error)


def test_the_end_of_its_pool_answers_a_call_whose_value_is_not_opened(ctx):
    pool = ctx.Pool(2)
    held = [pool.apply_async(late), pool.submit(late), pool.map_async(late, range(30), 1)]
    pool.apply(abs, (1,))
    began = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - began < LIMIT
    for get in held[0].get, held[1].result, held[2].get:
        with pytest.raises(polyproc.ProcessError, match="terminated"):
            get(LIMIT)


def test_chunks_of_a_map_travel_together_and_are_opened_apart_from_others(ctx):
    with ctx.Pool(1) as pool:
        pool.map(pool_work.double, range(500), 1)  # short: from now on they go in batches
        held = pool.map_async(late, range(500), 1)
        rest_goes_on(pool)
        goes_on.set()
        assert held.get(LIMIT) == ["late"] * 500


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_a_callback_that_does_not_return_holds_up_other_callbacks_alone(kind):
    called = []
    with polyproc.Pool(2) if kind == "processes" else ThreadPool(2) as pool:
        begun = threading.Event()
        held = pool.apply_async(abs, (-1,), callback=lambda value: (begun.set(), goes_on.wait(2 * LIMIT)))
        assert begun.wait(LIMIT)
        behind = pool.apply_async(abs, (-2,), callback=called.append)
        assert [pool.apply_async(abs, (n,)).get(LIMIT) for n in range(8)] == list(range(8))
        assert pool.map_async(abs, range(50)).get(LIMIT) == list(range(50))
        assert not held.ready() and not called
        goes_on.set()
        assert (held.get(LIMIT), behind.get(LIMIT)) == (1, 2)
        assert called == [2]


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_terminate_answers_the_calls_behind_a_callback_that_does_not_return(kind):
    pool = polyproc.Pool(2) if kind == "processes" else ThreadPool(2)
    begun = threading.Event()
    held = pool.apply_async(abs, (-1,), callback=lambda value: (begun.set(), goes_on.wait(2 * LIMIT)))
    assert begun.wait(LIMIT)
    behind = pool.apply_async(abs, (-2,), callback=lambda value: None)
    pool.apply(abs, (-3,))
    pool.terminate()
    pool.join()
    assert held.get(LIMIT) == 1
    try:
        assert behind.get(LIMIT) == 2
    except polyproc.ProcessError as error:
        assert "terminated" in str(error)


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_a_callback_may_wait_for_another_call(kind):
    found = []
    with polyproc.Pool(2) if kind == "processes" else ThreadPool(2) as pool:
        pool.apply_async(abs, (-1,), callback=lambda value: found.append(pool.apply(abs, (-2,)))).get(LIMIT)
    assert found == [2]


def test_close_and_join_wait_for_what_is_called_back():
    called = []

    def call_back(value):
        time.sleep(0.2)  # longer than the engine's thread waits
        called.append(value)

    pool = polyproc.Pool(1)
    results = [pool.apply_async(abs, (n,), callback=call_back) for n in range(3)]
    pool.close()
    pool.join()
    assert called == [0, 1, 2]
    assert all(result.ready() for result in results)


def test_callbacks_come_one_at_a_time_and_in_the_order_of_the_answers():
    running, most, called = [], [], []

    def call_back(value):
        running.append(value)
        most.append(len(running))
        time.sleep(0.03 if value % 3 else 0.0)
        called.append(value)
        running.remove(value)

    with polyproc.Pool(1) as pool:
        results = [pool.apply_async(abs, (n,), callback=call_back) for n in range(12)]
        for result in results:
            result.get(LIMIT)
    assert called == list(range(12))
    assert max(most) == 1


def test_a_callback_may_end_its_pool():
    for end in "terminate", "close":
        pool = polyproc.Pool(1)
        result = pool.apply_async(abs, (-1,), callback=lambda value, pool=pool, end=end: getattr(pool, end)())
        assert result.get(LIMIT) == 1
        pool.join()


def test_an_executor_goes_on_beside_a_future_that_calls_back_without_end(ctx):
    caller = threading.current_thread()  # who adds a callback to what is done calls it

    def call_back(future):
        if threading.current_thread() is not caller:
            goes_on.wait(2 * LIMIT)

    with ProcessPoolExecutor(1, ctx) as executor:
        executor.submit(pool_work.nap, 0.2).add_done_callback(call_back)
        assert executor.submit(pool_work.double, 2).result(LIMIT) == 4
        assert list(executor.map(pool_work.double, range(3))) == [0, 2, 4]
        goes_on.set()


def test_an_error_is_tried_again_by_what_it_is_before_it_is_opened(ctx, tmp_path):
    with ctx.Pool(1) as pool:
        flaky = pool.options(retries=2, retry_on=LookupError)
        with pytest.raises(KeyError) as caught:
            flaky.submit(fails, str(tmp_path / "tries")).result(LIMIT)
        assert "attempt 3 of 3" in caught.value.__notes__
        assert (tmp_path / "tries").read_text() == "xxx"


def fails(path):
    with open(path, "a") as file:
        file.write("x")
    raise KeyError("x")


def test_who_is_away_is_replaced_once_and_who_comes_back_in_time_is_not():
    replaced = []
    away = Away(lambda: None, lambda: not replaced.append(1))
    away.leave()
    assert away.look() and not replaced
    assert away.back()
    assert away.look() is None and not replaced
    away.leave()
    assert away.look() and not replaced
    assert away.look() and replaced
    assert not away.back()
    assert away.look() is None


def test_who_cannot_be_replaced_keeps_its_place():
    away = Away(lambda: None, lambda: False)
    away.leave()
    away.look()
    away.look()
    assert away.back()


def test_who_joins_also_waits_for_the_one_that_takes_the_place(monkeypatch):
    """The one before may end while the next is being started: nothing is at an end then."""

    def serve():
        me = threading.current_thread()
        while leader.turn is me and not goes_on.wait(0.001):
            pass

    leader = Leader(serve, lambda: None)
    joins = threading.Thread(target=leader.join, name="joins")
    start = threading.Thread.start

    def start_late(thread):
        leader.thread.join(LIMIT)  # it has seen that it is another's turn
        start(joins)
        joins.join(0.05)
        assert joins.is_alive()
        start(thread)

    leader.thread.start()
    leader.away.leave()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_late)
        assert leader.look(False) and leader.look(False)
    assert joins.is_alive()
    goes_on.set()
    joins.join(LIMIT)
    assert not joins.is_alive() and not leader.thread.is_alive()


def test_who_is_away_is_not_looked_at_twice_in_a_moment():
    """Else one that has left a microsecond ago is replaced, whenever the monitor is woken meanwhile."""
    looks = []
    monitor = Monitor({}, lambda id: None, lambda error: None, lambda: looks.append(time.monotonic()) or MOMENT)
    monitor.start()
    monitor.watch()
    while len(looks) < 4:
        monitor.wake()
        time.sleep(0.001)
    monitor.close()
    assert min(later - earlier for earlier, later in itertools.pairwise(looks)) > MOMENT / 2
