"""The workers of a pool: set up and torn down, recycled, more or fewer, with pools of their own."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import polyproc
from conftest import PROGRAMS, eventually, interrupt_program, is_running, run_program
from polyproc._platform.circumstances import usable_processors
from polyproc._platform.processes import resident_bytes
from support import pool_work


def lines_of(path):
    return path.read_text().splitlines() if path.exists() else []


def test_a_generator_sets_up_and_tears_down(ctx, tmp_path):
    path = tmp_path / "log"
    pool = ctx.Pool(2, pool_work.with_state, (str(path), "model"))
    assert pool.map(pool_work.call_without, [pool_work.name_in_state] * 4, chunksize=1) == ["model"] * 4
    pool.close()
    pool.join()
    assert sorted(lines_of(path)) == ["set up"] * 2 + ["torn down"] * 2


def test_it_tears_down_when_terminated_and_recycled(ctx, tmp_path):
    path = tmp_path / "log"
    with ctx.Pool(1, pool_work.with_state, (str(path), "m"), maxtasksperchild=1) as pool:
        for _ in range(3):
            assert pool.apply(pool_work.name_in_state) == "m"
        eventually(lambda: lines_of(path).count("torn down") == 3)
        pool.apply_async(pool_work.nap, (100,))
        time.sleep(0.05)
    assert lines_of(path).count("set up") == lines_of(path).count("torn down")


def test_threads_are_set_up_and_torn_down(tmp_path):
    path = tmp_path / "log"
    pool = polyproc.pool.ThreadPool(2, pool_work.with_state, (str(path), "x"))
    pool.map(pool_work.double, range(10))
    pool.close()
    pool.join()
    assert sorted(lines_of(path)) == ["set up"] * 2 + ["torn down"] * 2


def test_a_worker_that_has_grown_is_replaced(ctx):
    limit = resident_bytes() + 150_000_000
    with ctx.Pool(1, max_memory_per_child=limit) as pool:
        first = pool.apply(pool_work.grow, (1,))
        assert pool.apply(os.getpid) == first
        grown = pool.apply(pool_work.grow, (limit // 1_000_000,))
        assert grown == first
        eventually(lambda: pool.apply(os.getpid) != first)
        eventually(lambda: not is_running(first))
        assert pool.map(pool_work.double, range(100)) == [2 * n for n in range(100)]


def test_more_workers_and_fewer(ctx):
    with ctx.Pool(1) as pool:
        pool.resize(3)
        eventually(lambda: pool.stats().idle == 3)
        assert pool.map(pool_work.double, range(60), chunksize=1) == [2 * n for n in range(60)]
        results = pool.map_async(pool_work.nap, [0.01] * 30, chunksize=1)
        pool.resize(1)
        assert results.get(30) == [0.01] * 30
        eventually(lambda: pool.stats().workers == 1)
        eventually(lambda: len(pool._pool) == 1)
        assert pool.map(pool_work.double, range(60), chunksize=1) == [2 * n for n in range(60)]
        with pytest.raises(ValueError, match="at least 1"):
            pool.resize(0)


def test_workers_that_are_not_wanted_any_more_are_not_started(ctx, monkeypatch):
    """However often the size changes while one is being started."""
    with ctx.Pool(1) as pool:
        pool.apply(abs, (-1,))
        process_class, begins, go = pool._engine.workers._process, threading.Event(), threading.Event()
        starts, start = itertools.count(), process_class.start

        def start_later(process):
            next(starts)
            begins.set()
            assert go.wait(30)
            start(process)

        monkeypatch.setattr(process_class, "start", start_later)
        more = threading.Thread(target=pool.resize, args=(3,))  # which may start them itself
        more.start()
        assert begins.wait(30)
        for size in (4, 2, 5, 1):
            pool.resize(size)
        go.set()
        more.join(30)
        eventually(lambda: pool.stats().workers == 1)
        eventually(lambda: len(pool._pool) == 1 and not pool._engine._to_start)
        assert pool.stats().started <= 2
        assert next(starts) == 1
        assert pool.map(pool_work.double, range(10)) == [2 * n for n in range(10)]


def test_threads_more_and_fewer():
    with polyproc.pool.ThreadPool(1) as pool:
        pool.resize(3)
        barrier = threading.Barrier(3)
        assert sorted(pool.map(lambda _: barrier.wait(30), range(3), chunksize=1)) == [0, 1, 2]
        pool.resize(1)
        eventually(lambda: pool.stats().workers == 1)
        assert pool.map(pool_work.double, range(10)) == [2 * n for n in range(10)]


def test_stats(ctx):
    with ctx.Pool(2) as pool:
        eventually(lambda: pool.stats().idle == 2)
        results = [pool.apply_async(pool_work.nap, (0.2,)) for _ in range(5)]
        eventually(lambda: pool.stats().busy == 2)
        assert pool.stats().queued == 3
        for result in results:
            result.get(30)
        with pytest.raises(ZeroDivisionError):
            pool.apply(divmod, (1, 0))
        stats = pool.stats()
        assert (stats.workers, stats.queued, stats.done, stats.failed, stats.lost) == (2, 0, 6, 1, 0)
        assert stats.slowest[0] == "nap"
        assert stats.seconds >= 1.0 > stats.slowest[1] >= 0.2


def test_imap_takes_as_much_as_it_may(ctx):
    taken = itertools.count()
    with ctx.Pool(2) as pool:
        for chunksize, buffersize in ((1, 4), (3, 9)):
            results = pool.imap(pool_work.double, taken, chunksize, buffersize=buffersize)
            first = next(results)
            for n in range(1, 30):
                assert next(results) == first + 2 * n
            time.sleep(0.05)
            assert next(taken) <= first // 2 + 30 + buffersize + 1
            results.close()
        assert len(list(pool.imap_unordered(pool_work.double, range(500), buffersize=2))) == 500
        with pytest.raises(ValueError, match="buffersize must be None or > 0"):
            pool.imap(pool_work.double, [1], buffersize=0)


class LastLong:
    """Items of which the second takes a moment to pickle, and the third as long as the test wants."""

    may_go_on = threading.Event()

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        if self.number == 1:
            time.sleep(0.01)
        elif self.number == 2:
            assert self.may_go_on.wait(20)
        return int, (self.number,)


def test_imap_sends_what_it_has_while_it_pickles_the_next_for_long():
    with polyproc.get_context("fork").Pool(2) as pool:
        results = pool.imap(abs, [LastLong(number) for number in range(16)])
        assert next(results) == 0
        LastLong.may_go_on.set()
        assert [*results] == [*range(1, 16)]


def test_imap_is_bounded_and_close_has_the_rest_run(ctx, tmp_path):
    path, taken = tmp_path / "ran", []

    def numbers():
        for n in range(300):
            taken.append(n)
            yield str(path), n

    pool = ctx.Pool(1)
    results = pool.imap(pool_work.note_pair, numbers())
    assert next(results) == 0
    time.sleep(0.1)
    assert len(taken) < 100
    pool.close()  # and nobody reads on
    pool.join()
    assert len(lines_of(path)) == 300
    assert list(results) == list(range(1, 300))


def test_a_closed_iterator_takes_no_more(ctx):
    taken = []

    def numbers():
        for n in itertools.count():
            taken.append(n)
            yield n

    with ctx.Pool(1) as pool:
        results = pool.imap(pool_work.double, numbers())
        assert next(results) == 0
        results.close()
        left = list(results)
        assert left == [2 * n for n in range(1, len(left) + 1)]
        count = len(taken)
        pool.close()
        pool.join()
        assert len(taken) <= count + 1


def test_pools_in_workers(ctx):
    polyproc.set_start_method(None, force=True)
    with ctx.Pool(2) as pool:
        assert pool.map(pool_work.sum_in_a_pool, [range(4), range(10)], chunksize=1) == [12, 90]


def test_a_killed_worker_takes_its_pool_with_it(tmp_path):
    path = tmp_path / "pids"
    with polyproc.get_context("fork").Pool(1) as pool:
        result = pool.apply_async(pool_work.be_killed_with_a_pool, (str(path),))
        with pytest.raises(polyproc.ProcessDied):
            result.get(30)
        pids = [int(line) for line in lines_of(path)]
        assert len(pids) == 2
        eventually(lambda: not any(is_running(pid) for pid in pids))


def test_ctrl_c_ends_all_with_one_traceback(method):
    returncode, errors, pids = interrupt_program("endless_pool.py", method)
    assert returncode == -signal.SIGINT or returncode == 1 or returncode == 130
    assert errors.count("Traceback") == 1, errors
    assert "KeyboardInterrupt" in errors
    eventually(lambda: not any(is_running(pid) for pid in pids))


def test_a_pool_lives_as_long_as_its_calls(method):
    done = run_program("dropped_pools.py", method)
    assert (done.stdout, done.stderr) == ("0.2 18\n", ""), done


def test_what_stands_behind_a_long_call_does_not_wait_for_it():
    """Not even when there is always something else to do for the others."""
    with polyproc.get_context("fork").Pool(2) as pool:
        eventually(lambda: pool.stats().idle == 2)
        long = pool.submit(pool_work.nap, 3.0)
        # One of them may be handed to the worker that is not free for 3 seconds.
        short = [pool.submit(pool_work.nap, 0.01) for _ in range(4)]
        stream = pool.imap_unordered(pool_work.nap, itertools.repeat(0.005, 400))
        assert [call.result(2.0) for call in short] == [0.01] * 4
        assert not long.done()
        assert len(list(stream)) == 400


def test_numerical_libraries_get_their_share_of_the_processors(ctx, monkeypatch):
    for name in list(os.environ):
        if name.endswith(("_NUM_THREADS", "_MAXIMUM_THREADS")):
            monkeypatch.delenv(name)
    with ctx.Pool(2) as pool:
        share = str(max(usable_processors() // 2, 1))
        assert set(pool.apply(pool_work.thread_variables).values()) == {share}
    with ctx.Pool(1) as pool:
        assert set(pool.apply(pool_work.thread_variables).values()) == {None}
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    with ctx.Pool(2) as pool:
        assert set(pool.apply(pool_work.thread_variables).values()) == {"7", None}


def test_libraries_that_are_loaded_get_it_too(ctx, monkeypatch):
    pytest.importorskip("numpy")
    pytest.importorskip("threadpoolctl")
    for name in list(os.environ):
        if name.endswith(("_NUM_THREADS", "_MAXIMUM_THREADS")):
            monkeypatch.delenv(name)
    with ctx.Pool(2 * usable_processors()) as pool:
        assert set(pool.apply(pool_work.threads_of_blas)) == {1}
        if ctx.get_start_method() == "fork":
            assert pool.apply(pool_work.threads_of_a_product) == 0


def test_a_worker_loads_little(ctx):
    """concurrent.futures brings logging: neither is a worker's business, unless the program has loaded it."""
    program = (
        "import sys, polyproc\n"
        f"with polyproc.get_context({ctx.get_start_method()!r}).Pool(1) as pool:\n"
        "    found = pool.apply(pool_work.loaded_modules)\n"
        "print(sorted(found & {'logging', 'concurrent.futures', 'importlib.util', 'asyncio'}))\n"
        "print('concurrent.futures' in sys.modules)\n"
    )
    program = f"import sys; sys.path.insert(0, {str(PROGRAMS.parent)!r})\nfrom support import pool_work\n" + program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\nFalse\n", "")
