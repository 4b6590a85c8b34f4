"""ProcessPoolExecutor and task: as in concurrent.futures, and beyond."""

import concurrent.futures
import itertools
import os
import queue
import threading
import time

import pytest

import polyproc
from conftest import eventually, is_running, run_program
from polyproc.pool import BrokenProcessPool, ProcessPoolExecutor, WorkerDied, task
from support import pool_work, targets


def test_calls(ctx):
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        futures = [executor.submit(pow, n, 2) for n in range(20)]
        done, not_done = concurrent.futures.wait(futures, 30)
        assert not not_done
        assert sorted(future.result() for future in done) == [n * n for n in range(20)]
        assert {future.result() for future in concurrent.futures.as_completed(futures)} == {n * n for n in range(20)}
        assert list(executor.map(pow, range(5), range(5))) == [1, 1, 4, 27, 256]
        assert list(executor.map(pool_work.double, range(10), chunksize=3)) == [2 * n for n in range(10)]
        assert list(executor.map(pool_work.double, [])) == []
        with pytest.raises(ZeroDivisionError) as caught:
            executor.submit(divmod, 1, 0).result(30)
        assert "divmod" in str(caught.value.__cause__) or "call" in str(caught.value.__cause__)
        called = []
        executor.submit(pool_work.double, 2).add_done_callback(called.append)
        eventually(lambda: called)
        assert called[0].result() == 4
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(pow, 1, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(pow, [1], [1])
    executor.shutdown()


def wait_for(path):
    eventually(path.exists)


@pytest.mark.parametrize("cancels", [False, True])
def test_a_future_wakes_all_who_wait_for_it(cancels, tmp_path):
    found = queue.SimpleQueue()
    go_on = tmp_path / "go_on"
    with ProcessPoolExecutor(1, polyproc.get_context("fork")) as executor:
        future = executor.submit(wait_for, go_on)
        ways = [
            lambda: future.result(30),
            lambda: future.exception(30),
            lambda: concurrent.futures.wait([future], 30).not_done,
            lambda: list(concurrent.futures.as_completed([future], 30)) != [future],
        ]
        for wait in (future.result, future.exception):
            with pytest.raises(TimeoutError):
                wait(0.01)

        def report(way):
            try:
                found.put(way())
            except concurrent.futures.CancelledError:
                found.put(None)

        threads = [threading.Thread(target=report, args=(way,)) for way in ways]
        for thread in threads:
            thread.start()
        eventually(lambda: len(future._waiters) == 2)
        if cancels:
            assert future.cancel()
        go_on.touch()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    assert not any(found.get() for _ in ways)


def test_workers_start_when_there_is_work(ctx):
    with ProcessPoolExecutor(3, mp_context=ctx) as executor:
        assert executor._processes == {}
        for _ in range(5):
            executor.submit(os.getpid).result(30)
        assert len(executor._processes) == (3 if ctx.get_start_method() == "fork" else 1)
        naps = [executor.submit(pool_work.nap, 0.2) for _ in range(6)]
        eventually(lambda: len(executor._processes) == 3)
        assert [nap.result(30) for nap in naps] == [0.2] * 6


def test_a_worker_that_dies_costs_its_call(ctx):
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        futures = [executor.submit(pool_work.die_for, 7, n) for n in range(30)]
        for n, future in enumerate(futures):
            if n == 7:
                with pytest.raises(BrokenProcessPool) as caught:
                    future.result(30)
                assert isinstance(caught.value, WorkerDied | polyproc.ProcessDied)
                assert caught.value.task == "die_for"
            else:
                assert future.result(30) == n
        assert executor.submit(pool_work.double, 1).result(30) == 2


def test_an_initializer_that_fails_breaks_it(ctx, capfd):
    with ProcessPoolExecutor(2, ctx, targets.raise_key_error) as executor:
        with pytest.raises(BrokenProcessPool, match="no worker can be started: KeyError") as caught:
            executor.submit(pow, 1, 1).result(30)
        assert isinstance(caught.value.__cause__, KeyError)
        with pytest.raises(concurrent.futures.BrokenExecutor, match="KeyError"):
            executor.submit(pow, 1, 1)


def test_what_cannot_be_pickled_is_its_futures_error(ctx):
    import threading

    with ProcessPoolExecutor(1, mp_context=ctx) as executor:
        with pytest.raises(TypeError, match="pickle"):
            executor.submit(pool_work.double, threading.Lock()).result(30)
        with pytest.raises(TypeError, match="pickle"):
            executor.submit(pool_work.unpicklable_for, 1, 1).result(30)
        assert executor.submit(lambda n: n + 1, 1).result(30) == 2


def test_map_takes_as_much_as_it_may(ctx):
    taken = itertools.count()
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        results = executor.map(pool_work.double, taken, buffersize=4)
        for n in range(20):
            assert next(results) == 2 * n
        assert next(taken) <= 20 + 4 + 1
        results.close()
        with pytest.raises(ValueError, match="buffersize must be None or > 0"):
            executor.map(pool_work.double, [1], buffersize=0)
        with pytest.raises(TypeError, match="buffersize must be an integer or None"):
            executor.map(pool_work.double, [1], buffersize="4")
        with pytest.raises(ValueError, match="chunksize must be >= 1"):
            executor.map(pool_work.double, [1], chunksize=0)


def test_map_ends_at_its_timeout_and_at_an_error(ctx, tmp_path):
    path = tmp_path / "ran"
    with ProcessPoolExecutor(1, mp_context=ctx) as executor:
        assert list(executor.map(pool_work.nap, [0.0], timeout=60)) == [0.0]
        results = executor.map(pool_work.nap, [0.0, 1.0, 1.0], timeout=0.5)
        with pytest.raises(TimeoutError):
            list(results)
        results = executor.map(pool_work.fails_for, itertools.repeat(3, 5), range(5))
        got = []
        with pytest.raises(ValueError, match="not 3"):
            for value in results:
                got.append(value)
        assert got == [0, 1, 2]
        results = executor.map(pool_work.note, itertools.repeat(str(path)), range(3), buffersize=2)
        assert list(results) == [0, 1, 2]


def test_shutdown_cancels_what_has_not_begun(ctx):
    executor = ProcessPoolExecutor(1, mp_context=ctx)
    first = executor.submit(pool_work.nap, 0.3)
    rest = [executor.submit(pool_work.double, n) for n in range(10)]
    eventually(first.running)
    executor.shutdown(wait=True, cancel_futures=True)
    assert first.result(30) == 0.3
    assert all(future.cancelled() for future in rest)


def test_shutdown_without_waiting_does_all(ctx):
    executor = ProcessPoolExecutor(2, mp_context=ctx)
    futures = [executor.submit(pool_work.nap, 0.02) for n in range(10)]
    executor.shutdown(wait=False)
    assert [future.result(30) for future in futures] == [0.02] * 10
    executor.shutdown()


@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
def test_workers_can_be_ended(ctx, how, tmp_path):
    executor = ProcessPoolExecutor(2, mp_context=ctx)
    path = tmp_path / "running"
    running = [executor.submit(pool_work.stubborn, str(path)) for _ in range(2)]
    eventually(lambda: path.exists() and len(path.read_text().split()) == 2)
    assert all(future.running() for future in running)
    rest = [executor.submit(pool_work.double, n) for n in range(5)]
    pids = list(executor._processes)
    getattr(executor, how)()
    for future in running:
        with pytest.raises(BrokenProcessPool):
            future.result(30)
    executor.shutdown()
    assert all(future.cancelled() for future in rest)
    assert not any(is_running(pid) for pid in pids)


def test_idle_workers_end_and_others_start(ctx):
    with ProcessPoolExecutor(2, mp_context=ctx, idle_timeout=0.1) as executor:
        pid = executor.submit(os.getpid).result(30)
        eventually(lambda: not is_running(pid) and not executor._processes)
        assert executor.submit(os.getpid).result(30) != pid
        assert list(executor.map(pool_work.double, range(100))) == [2 * n for n in range(100)]


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        ProcessPoolExecutor(0)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        ProcessPoolExecutor(1, initializer=3)
    with pytest.raises(TypeError, match="max_tasks_per_child must be an integer"):
        ProcessPoolExecutor(1, max_tasks_per_child="2")
    with pytest.raises(ValueError, match="max_tasks_per_child must be >= 1"):
        ProcessPoolExecutor(1, max_tasks_per_child=0)
    with pytest.raises(ValueError, match="not an amount of memory: '3 apples'"):
        ProcessPoolExecutor(1, max_memory_per_child="3 apples")
    import multiprocessing

    with pytest.raises(TypeError, match="not a context of polyproc"):
        ProcessPoolExecutor(1, multiprocessing.get_context("fork"))


def test_a_forgotten_executor_ends(ctx):
    executor = ProcessPoolExecutor(1, mp_context=ctx)
    futures = [executor.submit(pool_work.nap, 0.05) for _ in range(5)]
    while not executor._processes:
        time.sleep(0.005)
    pid = next(iter(executor._processes))
    del executor
    assert [future.result(30) for future in futures] == [0.05] * 5
    del futures
    eventually(lambda: not is_running(pid))


def test_at_exit_what_was_asked_for_is_done(tmp_path):
    done = run_program("forgotten_executor.py", str(tmp_path / "ran"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert sorted((tmp_path / "ran").read_text().split()) == ["0", "1", "2", "3", "4"]


@task
def tripled(number):
    return number * 3


@task(timeout=0.2, grace=0.1)
def sleeps(seconds):
    time.sleep(seconds)
    return seconds


class Holder:
    def __init__(self, factor):
        self.factor = factor

    @task
    def times(self, number):
        return self.factor * number


@task
def nested(number):
    return tripled(number).result(30) + 1


@pytest.fixture
def tasks_ended():
    from polyproc._pool.task import executors

    yield
    for executor in executors._made.values():
        executor.shutdown()
    executors._made.clear()


def test_tasks(tasks_ended):
    assert tripled(4).result(30) == 12
    assert tripled.run(4) == 12
    assert tripled.__name__ == "tripled"
    assert [future.result(30) for future in map(tripled, range(50))] == [3 * n for n in range(50)]
    with pytest.raises(polyproc.TimeoutError):
        sleeps(100).result(30)
    assert Holder(5).times(3).result(30) == 15
    assert task(lambda n: n - 1)(3).result(30) == 2
    assert nested(2).result(30) == 7


def test_tasks_in_a_pool(ctx):
    with ctx.Pool(1) as pool:
        mine = task(pool=pool, priority=2)(pool_work.pid_of)
        assert mine(1).result(30) == pool.apply(os.getpid)
        with pytest.raises(ValueError, match="a pool or a context, not both"):
            task(pool=pool, context=ctx)
        with pytest.raises(TypeError, match="unexpected keyword argument 'tries'"):
            task(tries=3)


def test_public_errors_say_where_they_are():
    for name, found in (*vars(polyproc).items(), *vars(polyproc.pool).items()):
        if isinstance(found, type) and issubclass(found, BaseException) and not name.startswith("_"):
            assert "._" not in found.__module__, found


def test_a_future_has_no_public_names_of_its_own():
    """What the pool does with it is nobody else's."""
    names = {name for name in dir(polyproc.Future) if not name.startswith("_")}
    assert names == {name for name in dir(concurrent.futures.Future) if not name.startswith("_")}
