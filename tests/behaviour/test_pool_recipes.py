"""What programs build of the insides of the standard library's pools: recipes that are found in many of them."""

import threading

import pytest

import polyproc
from conftest import eventually
from polyproc import pool as pool_module
from support import targets


def istarmap(pool, func, iterable, chunksize=1, kind=pool_module.IMapIterator, handed=lambda pool: pool):
    """Map lazily over items that are arguments; as written for 3.8 and later, and with `_cache` before."""
    pool._check_running()
    tasks = pool_module.Pool._get_tasks(func, iterable, chunksize)
    result = kind(handed(pool))
    made = pool._guarded_task_generation(result._job, pool_module.starmapstar, tasks)
    pool._taskqueue.put((made, result._set_length))
    return (item for chunk in result for item in chunk)


@pytest.fixture(params=["processes", "threads"])
def pool(request):
    with polyproc.Pool(2) if request.param == "processes" else pool_module.ThreadPool(2) as made:
        yield made


@pytest.mark.parametrize("chunksize", [1, 4, 100])
def test_istarmap(pool, chunksize):
    items = [(n, 2 * n) for n in range(10)]
    expected = [3 * n for n in range(10)]
    assert list(istarmap(pool, targets.add, iter(items), chunksize)) == expected
    assert list(istarmap(pool, targets.add, items, chunksize, handed=lambda pool: pool._cache)) == expected
    unordered = istarmap(pool, targets.add, items, chunksize, kind=pool_module.IMapUnorderedIterator)
    assert sorted(unordered) == expected
    assert list(istarmap(pool, targets.add, [])) == []


def test_what_fails_in_a_recipe_is_told(pool):
    results = istarmap(pool, targets.add, [(1, 2), (None, 3)])
    assert next(results) == 3
    with pytest.raises(TypeError):
        next(results)
    waiting = pool_module.IMapIterator(pool)
    with pytest.raises(polyproc.TimeoutError):
        waiting.next(0.01)
    with pytest.raises(TypeError, match="_guarded_task_generation"):
        pool._taskqueue.put(((), None))


def double_all(call):
    function, batch = call
    return [2 * function(item) for item in batch]


def test_a_map_result_of_a_programs_own(pool):
    told = []
    result = pool_module.MapResult(pool._cache, 3, 10, told.append, error_callback=told.append)
    tasks = pool_module.Pool._get_tasks(targets.echo, range(10), 3)
    pool._taskqueue.put((pool._guarded_task_generation(result._job, double_all, tasks), None))
    expected = [2 * n for n in range(10)]
    assert (result.get(timeout=60), told, result._number_left) == (expected, [expected], 0)
    failing = pool_module.MapResult(pool, 1, 1, error_callback=told.append)
    pool._taskqueue.put((pool._guarded_task_generation(failing._job, len, iter([3])), None))
    with pytest.raises(TypeError):
        failing.get(timeout=60)
    assert told[1:] == [failing._value]


def test_progress_by_polling():
    with pool_module.ThreadPool(1) as pool:
        gates = [threading.Event() for _ in range(4)]
        result = pool.map_async(lambda n: gates[n].wait(60), range(4), chunksize=1)
        assert (result._number_left, result._chunksize) == (4, 1)
        for n, gate in enumerate(gates):
            gate.set()
            eventually(lambda n=n: result._number_left == 3 - n)
        assert result.get(timeout=60) == [True] * 4


def test_how_many_tasks_wait_can_be_asked():
    with pool_module.ThreadPool(1) as pool:
        gate = threading.Event()
        results = [pool.apply_async(gate.wait, (60,)) for _ in range(5)]
        eventually(lambda: pool._taskqueue.qsize() == 4)
        assert not pool._taskqueue.empty()
        gate.set()
        assert [result.get(timeout=60) for result in results] == [True] * 5
        eventually(pool._taskqueue.empty)
        with pytest.raises(TypeError, match="see Pool.stats"):
            len(pool._cache)


def test_a_worker_over_queues_of_a_programs_own(ctx):
    tasks, results = ctx.SimpleQueue(), ctx.SimpleQueue()
    process = ctx.Process(target=pool_module.worker, args=(tasks, results, targets.echo, ("started",), 3, True))
    process.start()
    tasks.put((7, 0, targets.add, (1,), {"b": 2}))
    tasks.put((7, 1, targets.raise_key_error, (), {}))
    tasks.put((7, 2, threading.Lock, (), {}))
    got = [results.get() for _ in range(3)]
    process.join()
    assert (process.exitcode, got[0]) == (0, (7, 0, (True, 3)))
    assert [index for _, index, _ in got] == [0, 1, 2]
    (succeeded, error), (sent, refused) = got[1][2], got[2][2]
    assert (succeeded, type(error), sent) == (False, KeyError, False)
    assert "raise_key_error" in error.__notes__[0]
    assert "Error sending result" in str(refused)
    tasks.close()
    results.close()


def test_results_can_be_subscripted_in_annotations():
    def made(one: pool_module.AsyncResult[int]) -> "pool_module.MapResult[int]":
        return one

    assert made.__annotations__["one"].__args__ == (int,)
    assert pool_module.MapResult[int].__origin__ is pool_module.MapResult
    assert isinstance(pool_module.AsyncResult, type)


def test_pools_and_what_they_give_are_shown_as_of_their_doors():
    names = ["Pool", "ThreadPool", "ApplyResult", "MapResult", "IMapIterator", "MaybeEncodingError"]
    assert {getattr(pool_module, name).__module__ for name in names} == {"polyproc.pool"}
    assert {polyproc.ProcessPoolExecutor.__module__, polyproc.Future.__module__} == {"polyproc"}
