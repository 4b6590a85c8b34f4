"""The pool that is here: its calls, and what goes wrong in them."""

import collections
import functools
import os
import signal
import threading
import time
import tracemalloc

import pytest

import polyproc
from conftest import eventually
from polyproc._base import native as _native
from support import pool_work, targets


def square(x):
    return x * x


def die_at(x, limit):
    if x == limit:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def fail_to_start():
    raise RuntimeError("no worker can be")


def test_calls(ctx):
    with ctx.Pool(2) as pool:
        assert pool.map(square, range(50)) == [x * x for x in range(50)]
        assert pool.apply(square, (3,)) == 9
        assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
        assert list(pool.imap(square, range(7))) == [x * x for x in range(7)]
        assert sorted(pool.imap_unordered(square, range(7), 2)) == [x * x for x in range(7)]
        assert pool.map(square, []) == []
        told = []
        result = pool.map_async(square, [1, 2], callback=told.append)
        assert result.get(30) == [1, 4]
        assert result.successful()
        pool.close()
        pool.join()
        assert told == [[1, 4]]


def test_killed_worker_costs_its_own_task(ctx):
    with ctx.Pool(2) as pool:
        results = [pool.apply_async(die_at, (x, 7)) for x in range(30)]
        for x, result in enumerate(results):
            if x == 7:
                with pytest.raises(
                    polyproc.ProcessDied, match="was killed by SIGKILL without a result while it ran die_at"
                ):
                    result.get(30)
            else:
                assert result.get(30) == x
        assert pool.map(square, [5]) == [25]


def test_errors_are_their_calls_alone(ctx):
    with ctx.Pool(1) as pool:
        with pytest.raises(SystemExit):
            pool.apply(targets.exit_with, (3,))
        with pytest.raises(KeyError) as caught:
            pool.apply(targets.raise_key_error)
        assert "in raise_key_error" in str(caught.value.__cause__)
        with pytest.raises(Exception, match="Unpicklable"):
            pool.apply(targets.raise_unpicklable)
        assert pool.apply(square, (4,)) == 16


def raise_stop_iteration(*args):
    raise StopIteration


@pytest.mark.parametrize("make", [lambda: polyproc.get_context("fork").Pool(1), lambda: polyproc.pool.ThreadPool(1)])
def test_a_mapped_function_that_raises_stop_iteration_ends_no_results(make):
    with make() as pool:
        for call in (
            lambda: pool.map(raise_stop_iteration, range(4)),
            lambda: pool.starmap(raise_stop_iteration, [(1, 2)] * 3),
            lambda: list(pool.imap(raise_stop_iteration, range(3))),
            lambda: list(pool.imap_unordered(raise_stop_iteration, range(30), chunksize=7)),
        ):
            with pytest.raises(RuntimeError, match="raised StopIteration"):
                call()
        with pytest.raises(StopIteration):
            pool.apply(raise_stop_iteration)
        assert pool.map(square, range(3)) == [0, 1, 4]


def odd_one(x):
    if x == 300:
        raise LookupError(x)
    if x == 500:
        os.kill(os.getpid(), signal.SIGKILL)
    return threading.Lock() if x == 700 else x


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_short_calls_of_an_imap_fail_alone(name):
    with polyproc.get_context("fork").Pool(2) as pool:
        assert pool.map(odd_one, range(200), 1) == [*range(200)]  # which shows that they are short
        results, found, errors = getattr(pool, name)(odd_one, range(1000)), [], []
        while True:
            try:
                found.append(results.next(30))
            except StopIteration:
                break
            except Exception as error:
                errors.append(type(error))
        assert sorted(found) == [x for x in range(1000) if x not in (300, 500, 700)]
        assert sorted(kind.__name__ for kind in errors) == ["LookupError", "MaybeEncodingError", "ProcessDied"]
        assert found == sorted(found) or name == "imap_unordered"


@pytest.mark.parametrize("chunk_size", [1, 2])
def test_the_error_of_an_imap_comes_of_nothing_of_ours(chunk_size):
    """It would be told beside it, as what was being handled."""
    with polyproc.get_context("fork").Pool(1) as pool:
        results = pool.imap(odd_one, [300, 1], chunk_size)
        with pytest.raises(LookupError) as caught:
            results.next()
        assert caught.value.__context__ is None
        with pytest.raises(polyproc.TimeoutError) as caught:
            pool.imap(time.sleep, [60], chunk_size).next(0.01)
        assert caught.value.__context__ is None


def nothing(x):
    return None


def test_a_map_never_holds_all_the_items_of_a_range():
    with polyproc.get_context("fork").Pool(1) as pool:
        tracemalloc.start()
        try:
            assert pool.map(nothing, range(10**6, 10**6 + 200_000), 20_000) == [None] * 200_000
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert most < 200_000 * 24  # where each item is an object of 28 bytes, and takes 8 in each list or tuple


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_a_map_takes_its_items_as_they_are_when_it_is_called(kind):
    items = list(range(10))
    with polyproc.get_context("fork").Pool(1) as pool:
        result = pool.map_async(square, kind(items), 3)
        items.clear()
        assert result.get(30) == [x * x for x in range(10)]


def test_chunk_sizes_are_checked(ctx):
    with ctx.Pool(1) as pool:
        for call in (pool.map, pool.starmap_async, pool.imap, pool.imap_unordered):
            for size in (0, -1):
                with pytest.raises(ValueError, match=rf"Chunksize must be 1\+, not {size}"):
                    call(square, range(4), chunksize=size)
            for size in ("2", 1.5):
                with pytest.raises(TypeError):
                    call(square, range(4), chunksize=size)
        assert pool.map(square, range(4), chunksize=True) == [0, 1, 4, 9]


def test_workers_that_never_start_break_the_pool_with_their_error(ctx, capfd):
    with ctx.Pool(1, initializer=fail_to_start) as pool, pytest.raises(RuntimeError, match="no worker can be"):
        pool.apply_async(square, (1,)).get(30)


def test_workers_leave_after_their_tasks(ctx):
    with ctx.Pool(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(os.getpid) for _ in range(5)]
        assert len(set(pids)) == 3
        pool.close()
        pool.join()


def test_large_arguments_and_results_do_not_block(ctx):
    data = os.urandom(1 << 20)
    with ctx.Pool(2) as pool:
        assert pool.map(targets.echo, [data] * 6, chunksize=1) == [data] * 6


def test_short_calls_go_together_and_are_right(ctx):
    """Once calls are seen to be short, many go in one message; results and errors are those of single calls."""
    with ctx.Pool(2) as pool:
        for _ in range(3):
            assert pool.map(pool_work.double, range(5000), chunksize=1) == [2 * n for n in range(5000)]
        assert pool.starmap(divmod, [(n, 7) for n in range(5000)], chunksize=1)[4999] == divmod(4999, 7)
        with pytest.raises(ValueError, match="not 3333"):
            pool.map(functools.partial(pool_work.fails_for, 3333), range(5000), chunksize=1)
        with pytest.raises(polyproc.pool.MaybeEncodingError, match="pickle"):
            pool.map(functools.partial(pool_work.unpicklable_for, 4000), range(5000), chunksize=1)
        unpicklable = [*range(4000), threading.Lock()]
        with pytest.raises(TypeError, match="pickle"):
            pool.map(pool_work.double, unpicklable, chunksize=1)
        assert pool.map(pool_work.double, range(5000), chunksize=1)[-1] == 9998


def test_long_calls_behind_short_ones_are_shared():
    """A worker that got many calls, since they were short, does not keep long ones from the others."""
    with polyproc.get_context("fork").Pool(3) as pool:
        for _ in range(3):
            pool.map(pool_work.double, range(3000), chunksize=1)
        pids = pool.map(functools.partial(pool_work.long_for, 2980), range(3000), chunksize=1)
        shares = collections.Counter(pids[2980:])
        assert len(shares) == 3
        assert max(shares.values()) <= 14


@pytest.mark.skipif(not _native.native, reason="what is in a pipe cannot be taken back")
def test_an_idle_worker_takes_over_what_another_has_not_begun():
    with polyproc.get_context("fork").Pool(2) as pool:
        for _ in range(200):
            pool.apply(pool_work.double, (1,))  # short: a worker may have many
        first = [pool.apply_async(pool_work.slowly, (0, 1.0))]
        rest = [pool.apply_async(pool_work.double, (number,)) for number in range(40)]
        begin = time.monotonic()
        assert [result.get(30) for result in rest] == [2 * number for number in range(40)]
        assert time.monotonic() - begin < 0.9
        assert first[0].get(30) == (0, 0)


def test_calls_that_wait_for_each_other(ctx):
    """As many calls as workers run at once, however short the calls before them were."""
    barrier = ctx.Barrier(3)
    with ctx.Pool(3, initializer=pool_work.remember, initargs=(barrier,)) as pool:
        pool.map(pool_work.double, range(3000), chunksize=1)
        assert pool.map(pool_work.meet, range(3), chunksize=1) == [0, 1, 2]
        results = [pool.apply_async(pool_work.meet, (number,)) for number in range(3)]
        assert [result.get(30) for result in results] == [0, 1, 2]


def test_a_function_object_is_made_anew_for_each_call(ctx):
    """As in the standard library: what a call changes in it does not show in the next."""
    with ctx.Pool(1) as pool:
        counter = pool_work.Counter()
        assert pool.map(counter, range(3), chunksize=1) == [1, 1, 1]
        assert [pool.apply(counter, (0,)) for _ in range(2)] == [1, 1]
        counter(0)
        assert pool.apply(counter, (0,)) == 2


@pytest.mark.skipif(not _native.native, reason="pipes copy")
def test_arrays_are_private_and_memory_comes_back():
    numpy = pytest.importorskip("numpy")
    with polyproc.get_context("fork").Pool(2) as pool:
        array = numpy.zeros(1 << 20, "u1")
        for _ in range(20):
            found = pool.apply(pool_work.own, (array,))
            assert found.flags.writeable
            assert (found == 1).all()
            assert not array.any()
            found[0] = 5
        arrays = [numpy.full(200_000, number, "u1") for number in range(50)]
        for number, found in enumerate(pool.imap(pool_work.own, arrays)):
            assert (found == number + 1).all()
        del found
        assert sum(results._slot_memory() for results in pool._engine.channels._results.values()) < 10 << 20


def test_workers_killed_before_they_are_ready_are_replaced(ctx):
    with ctx.Pool(2) as pool:
        for _ in range(6):
            killed = pool._pool
            for process in killed:
                process.kill()
            time.sleep(0.005)
        # Over pipes what is sent to one that is dead, and not known to be, counts as what it ran.
        eventually(lambda: not set(killed) & set(pool._pool))
        assert pool.map(pool_work.double, range(10)) == [2 * n for n in range(10)]


def test_threads():
    from polyproc.pool import ThreadPool

    started = []
    with ThreadPool(3, started.append, ("x",)) as pool:
        assert pool.map(lambda n: n + 1, range(100), chunksize=1) == list(range(1, 101))
        assert pool.apply(lambda *args, **kwargs: (args, kwargs), (1,), {"a": 2}) == ((1,), {"a": 2})
        assert list(pool.imap(square, range(5))) == [0, 1, 4, 9, 16]
        assert sorted(pool.imap_unordered(square, range(5))) == [0, 1, 4, 9, 16]
        assert pool.starmap(pow, [(2, 3)]) == [8]
        with pytest.raises(SystemExit):
            pool.apply(exit, (3,))
        with pytest.raises(ZeroDivisionError):
            pool.map(lambda n: 1 // n, [1, 0])
        told = []
        pool.apply_async(square, (3,), callback=told.append).wait(30)
        eventually(lambda: told == [9])
        pool.close()
        pool.join()
    assert started == ["x"] * 3
    with pytest.raises(ValueError, match="not running"):
        pool.apply(square, (1,))


def test_a_thread_pool_that_is_terminated_drops_what_has_not_begun():
    from polyproc.pool import ThreadPool

    begun, go = threading.Event(), threading.Event()
    pool = ThreadPool(1)
    first = pool.apply_async(lambda: (begun.set(), go.wait(30))[1])
    rest = [pool.apply_async(square, (n,)) for n in range(5)]
    assert begun.wait(30)
    pool.terminate()
    for result in rest:
        with pytest.raises(polyproc.ProcessError, match="terminated"):
            result.get(30)
    go.set()
    pool.join()
    assert first.get(30) is True
    with ThreadPool(2, fail_to_start) as pool, pytest.raises(RuntimeError, match="no worker can be"):
        pool.apply(square, (1,))


def test_callbacks_do_not_run_in_who_submits(ctx):
    """Who submits may hold a lock that a callback needs."""
    lock, told = threading.Lock(), []

    def tell(value):
        with lock:
            told.append(threading.current_thread() is threading.main_thread())

    with ctx.Pool(2) as pool:
        for _ in range(100):
            with lock:
                pool.apply_async(square, (2,), callback=tell)
                pool.apply_async(square, (threading.Lock(),), error_callback=tell)
        eventually(lambda: len(told) == 200)
    assert not any(told)


def test_who_has_waited_sees_what_the_callback_did(ctx):
    told = []

    def tell(value):
        time.sleep(0.05)
        told.append(value)

    with ctx.Pool(1) as pool:
        assert pool.apply_async(square, (3,), callback=tell).get(30) == 9
        assert told == [9]
        assert pool.map_async(square, [1, 2], callback=tell).get(30) == [1, 4]
        assert told == [9, [1, 4]]
        with pytest.raises(ZeroDivisionError):
            pool.apply_async(divmod, (1, 0), error_callback=tell).get(30)
        assert len(told) == 3
        assert pool.apply_async(square, (3,), callback=lambda value: 1 // 0).get(30) == 9  # is reported, and no more


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_a_pool_ends_while_a_later_one_lives(ctx, how):
    """Workers that are forked inherit what the earlier pool has open."""
    first, second = ctx.Pool(2), ctx.Pool(2)
    assert second.map(abs, [-1]) == first.map(abs, [-1]) == [1]
    getattr(first, how)()
    first.join()
    assert second.apply(abs, (-2,)) == 2
    second.terminate()
    second.join()


def test_an_executor_ends_while_a_later_one_lives(ctx):
    with polyproc.ProcessPoolExecutor(1, mp_context=ctx) as later:
        with polyproc.ProcessPoolExecutor(1, mp_context=ctx) as first:
            assert first.submit(abs, -1).result(60) == 1
            assert later.submit(abs, -2).result(60) == 2
        assert later.submit(abs, -3).result(60) == 3


def test_a_call_may_wait_for_one_that_came_after_it(ctx):
    """Calls that were seen to be short go together, or wait behind each other; one that turns out to be long must not
    keep another from a worker that has nothing to do."""
    event = ctx.Event()
    with ctx.Pool(2, pool_work.remember, (event,)) as pool:

        def make_it_seem_short():
            event.set()
            for _ in range(3):
                assert all(pool.map(pool_work.waits_for_the_next, range(2, 3000), 1))
            event.clear()

        make_it_seem_short()
        waiting, coming = (pool.apply_async(pool_work.waits_for_the_next, (number,)) for number in (0, 1))
        assert waiting.get(60)
        assert coming.get(60)
        make_it_seem_short()
        assert pool.map_async(pool_work.waits_for_the_next, range(2000), 1).get(60)[0]
        make_it_seem_short()
        assert next(iter(pool.imap(pool_work.waits_for_the_next, range(2000))))
        make_it_seem_short()
        assert next(iter(pool.imap(pool_work.waits_for_the_next, iter(range(2000)))))


def test_an_item_that_comes_late_keeps_none_that_came_before_it(ctx):
    """Short calls are gathered while there is enough to do, and not for longer than that."""
    with ctx.Pool(2) as pool:
        go_on = threading.Event()

        def items():
            yield from range(1000)
            assert go_on.wait(60)
            yield 1000

        results = pool.imap_unordered(pool_work.double, items())
        assert sorted(results.next(60) for _ in range(1000)) == list(range(0, 2000, 2))
        go_on.set()
        assert list(results) == [2000]
