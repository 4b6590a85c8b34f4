"""Every call is answered and every end is reached, whatever the user's code and the system do."""

import asyncio
import concurrent.futures
import contextlib
import errno
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

import polyproc
from conftest import eventually, interrupt_program, is_running, run_program
from polyproc._base import native as _native
from polyproc._workers import thread_engine
from polyproc.pool import ThreadPool
from support import pool_work


def begin_to_fail(path):
    """Fail in each worker but the first."""
    if pool_work.attempts(path) > 1:
        raise RuntimeError("no more of them")


def fail_to_begin():
    raise ValueError("no worker can be")


class OddError(Exception):
    __notes__ = "no list"


def raise_odd():
    raise OddError


class OddlyNamed:
    def __init__(self):
        self.__qualname__ = ["unhashable"]

    def __call__(self, number):
        return number


class Interrupting:
    """What a Ctrl-C comes upon as it is pickled."""

    def __reduce__(self):
        raise KeyboardInterrupt


def leave(value):
    sys.exit()


@pytest.fixture(params=["fork", "threads"])
def pool(request):
    make = {"fork": polyproc.get_context("fork").Pool, "threads": ThreadPool}[request.param]
    with make(2) as made:
        yield made


def in_time(act, limit=20.0):
    """Call `act` in a thread; fail if it does not return in time."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(limit)
    assert not thread.is_alive(), "no end"


def test_a_cancelled_call_keeps_no_pool_from_its_end(ctx):
    executor = polyproc.ProcessPoolExecutor(1, ctx)
    future = executor.submit(time.sleep, 100)
    eventually(future.running)
    assert future.cancel()
    in_time(executor.shutdown)
    pool = ctx.Pool(1)
    future = pool.submit(time.sleep, 100)
    eventually(future.running)
    assert future.cancel()
    pool.close()
    in_time(pool.join)


def test_terminate_overtakes_close(ctx):
    pool = ctx.Pool(1)
    result = pool.apply_async(time.sleep, (100,))
    pool.close()
    in_time(pool.terminate)
    with pytest.raises(polyproc.ProcessError, match="terminated"):
        result.get(10)


def test_an_initializer_that_fails_is_not_tried_for_ever_while_the_pool_closes(ctx, capfd):
    pool = ctx.Pool(1, fail_to_begin)
    result = pool.apply_async(abs, (1,))
    pool.close()
    in_time(pool.join)
    with pytest.raises(ValueError, match="no worker can be"):
        result.get(10)


def test_an_initializer_that_begins_to_fail_while_a_call_runs(tmp_path, capfd):
    """The pool is broken; the call that runs is answered all the same."""
    with polyproc.get_context("fork").Pool(1, begin_to_fail, (str(tmp_path / "count"),)) as pool:
        running = pool.apply_async(pool_work.nap, (0.5,))
        eventually(lambda: pool.stats().busy == 1)
        pool.resize(2)
        with pytest.raises(RuntimeError, match="no more of them"):
            while True:
                pool.apply_async(pool_work.double, (2,)).get(10)
        assert running.get(10) == 0.5


@pytest.mark.parametrize("how", ["kill_workers", "terminate_workers"])
def test_ended_workers_are_not_replaced_for_retries(ctx, how, tmp_path):
    executor = polyproc.ProcessPoolExecutor(1, ctx)
    path = tmp_path / "running"
    future = executor.options(retries=5).submit(pool_work.stubborn, str(path))
    eventually(path.exists)
    getattr(executor, how)()
    with pytest.raises(polyproc.ProcessDied):
        future.result(10)
    executor.shutdown()


def test_more_workers_start_for_work_that_waits(ctx):
    barrier = ctx.Barrier(3)
    with ctx.Pool(1, pool_work.remember, (barrier,)) as pool:
        results = [pool.apply_async(pool_work.meet, (number,)) for number in range(3)]
        pool.resize(3)
        assert [result.get(20) for result in results] == [0, 1, 2]


def test_what_raises_while_a_job_is_made_leaves_none(pool):
    if not isinstance(pool, ThreadPool):
        with pytest.raises(KeyboardInterrupt):
            pool.apply_async(abs, (Interrupting(),))
        with pytest.raises(KeyboardInterrupt):
            pool.map_async(abs, [*range(500), Interrupting()], 1)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(abs, Interrupting())
    with pytest.raises(TypeError):
        pool.imap(abs, 5)
    pool.close()
    in_time(pool.join)


def test_an_iterable_that_fails_leaves_no_job(ctx):
    with polyproc.ProcessPoolExecutor(1, ctx) as executor:
        for buffersize in (None, 2):
            with pytest.raises(ZeroDivisionError):
                executor.map(abs, (1 // number for number in (1, 0)), buffersize=buffersize)


def test_terminate_reaches_the_reader_of_an_iterable_that_blocks(pool):
    blocks = threading.Event()

    def numbers():
        yield 1
        blocks.wait(60)

    results = pool.imap(abs, numbers())
    assert next(results) == 1
    threading.Timer(0.1, pool.terminate).start()
    with pytest.raises(polyproc.ProcessError, match="terminated"):
        results.next(20)
    with pytest.raises(StopIteration):
        results.next(20)
    blocks.set()


def test_a_closed_iterator_ends_though_its_iterable_blocks(pool):
    blocks = threading.Event()

    def numbers():
        yield from range(3)
        blocks.wait(60)

    results = pool.imap(abs, numbers())
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    threading.Timer(0.1, results.close).start()
    with pytest.raises(StopIteration):
        results.next(20)
    pool.close()
    in_time(pool.join)
    blocks.set()


def test_a_map_that_is_not_read_to_its_end_keeps_no_executor_from_its_end(ctx):
    executor = polyproc.ProcessPoolExecutor(1, ctx)
    results = executor.map(abs, range(10), buffersize=2)
    assert next(results) == 0
    in_time(executor.shutdown)
    with pytest.raises(RuntimeError, match="after shutdown"):
        list(results)


def test_cancelled_calls_of_a_map_are_no_end_of_it(ctx):
    executor = polyproc.ProcessPoolExecutor(1, ctx)
    results = executor.map(pool_work.nap, [0.1] * 20)
    assert next(results) == 0.1
    executor.shutdown(cancel_futures=True)
    with pytest.raises(concurrent.futures.CancelledError):
        list(results)


def test_a_reader_that_polls_gets_all(pool):
    for chunksize, buffersize in ((1, 1), (3, 1), (3, 7)):
        results, found = pool.imap(pool_work.double, iter(range(30)), chunksize, buffersize=buffersize), []
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                found.append(results.next(0))
            except StopIteration:
                break
            except TimeoutError:
                time.sleep(0.001)
        assert found == [2 * number for number in range(30)]


def test_a_reader_that_awaits_gets_all(pool):
    async def main():
        return [number async for number in pool.aio.imap(pool_work.double, iter(range(30)), 3, buffersize=1)]

    assert asyncio.run(asyncio.wait_for(main(), 20)) == [2 * number for number in range(30)]


def test_threads_share_the_reading(pool):
    results, found, errors = pool.imap(pool_work.double, range(2000), 5), [], []

    def read():
        try:
            found.extend(results)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert sorted(found) == [2 * number for number in range(2000)]


def test_nothing_of_the_users_ends_the_pools_thread(pool, capfd):
    assert pool.apply_async(abs, (1,), callback=leave).get(10) == 1
    assert pool.map_async(abs, [1, 2], callback=leave).get(10) == [1, 2]
    with pytest.raises(ZeroDivisionError):
        pool.apply_async(divmod, (1, 0), error_callback=leave).get(10)
    with pytest.raises(OddError):
        pool.options(retries=1, retry_on=OddError).submit(raise_odd).result(10)
    pool.submit(abs, 1).add_done_callback(leave)
    assert pool.apply(OddlyNamed(), (7,)) == 7
    assert pool.options(progress=lambda done, total: sys.exit()).map(abs, [1, 2]) == [1, 2]
    assert pool.map(abs, range(-5, 0)) == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("how", ["result", "with", "end", "map"])
def test_a_ctrl_c_interrupts_what_an_executor_waits_for(method, how):
    _, errors, pids = interrupt_program("interrupted_executor.py", method, how, pause=0.3)
    assert errors.count("KeyboardInterrupt") >= 1, errors
    eventually(lambda: not any(is_running(pid) for pid in pids))


def test_what_is_left_of_an_interrupted_map_is_withdrawn(tmp_path):
    path = tmp_path / "ran"
    with polyproc.get_context("fork").Pool(1) as pool:
        timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            pool.starmap(pool_work.slow_note, [(str(path), number) for number in range(100)], 1)
        timer.join()
        ran = len(path.read_text().split())
        assert pool.apply(abs, (-1,)) == 1
        assert len(path.read_text().split()) <= ran + 2


def refuse(*args, **kwargs):
    raise OSError(errno.EAGAIN, "no room for a process")


def test_calls_are_answered_where_no_worker_can_be_made(ctx, monkeypatch):
    """By an error that says why; and the pool goes on when there is room again."""
    with ctx.Pool(1) as pool:
        worker = pool.apply(os.getpid)
        process_class = pool._engine.workers._process
        with monkeypatch.context() as patch:
            patch.setattr(process_class, "start", refuse)
            os.kill(worker, signal.SIGKILL)
            results = [pool.apply_async(abs, (number,)) for number in range(12)]
            for result in results:
                with pytest.raises((OSError, polyproc.ProcessDied)):
                    result.get(20)
        assert pool.apply_async(abs, (-3,)).get(20) == 3
        assert pool.map(abs, range(10)) == list(range(10))


def test_a_pool_that_cannot_start_leaves_nothing(ctx, monkeypatch):
    starts = itertools.count()
    process_class = ctx.Process
    start = process_class.start

    def start_one(self):
        if next(starts) == 1:
            refuse()
        start(self)

    monkeypatch.setattr(process_class, "start", start_one)
    with pytest.raises(OSError, match="no room"):
        ctx.Pool(3)


def test_workers_can_be_killed_where_no_descriptor_is_free(ctx, capfd):
    """Without what they have started, perhaps; the pool ends, and says nothing of its own."""
    executor = polyproc.ProcessPoolExecutor(1, ctx)
    assert executor.submit(abs, -1).result(30) == 1
    future = executor.submit(time.sleep, 60)
    eventually(future.running)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        executor.kill_workers()
        in_time(executor.shutdown)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert future.done()
    assert not capfd.readouterr().err


def test_a_thread_pool_that_can_start_none_says_so(monkeypatch):
    raised, begin = [], thread_engine.start_thread

    def refuse_thread(thread):
        raise RuntimeError("can't start new thread")

    def make():
        with pytest.raises(RuntimeError, match="can't start") as caught:
            ThreadPool(2)
        raised.append(caught.value)

    monkeypatch.setattr(thread_engine, "start_thread", refuse_thread)
    in_time(make)
    assert raised
    monkeypatch.setattr(thread_engine, "start_thread", begin)
    with ThreadPool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]


def test_a_pool_whose_workers_cannot_be_watched_ends_and_says_so(monkeypatch, capfd):
    from polyproc._workers import worker_set

    def fail(*args):
        raise OSError(errno.EMFILE, "too many open files")

    pool = polyproc.get_context("fork").Pool(1)
    result = pool.apply_async(time.sleep, (100,))
    monkeypatch.setattr(worker_set, "ready", fail)
    pool._engine._monitor.wake()
    with pytest.raises(OSError, match="too many open files"):
        result.get(20)
    in_time(pool.join)
    assert "cannot watch its workers" in capfd.readouterr().err


NO_MEMORY = """
import os, signal, sys, threading, time
import polyproc

def fails(once):
    def fail(*args):
        if once:
            engine._ended = ended
        raise MemoryError("not now")
    return fail

def call():
    try:
        pool.apply(time.sleep, (100,))
    except MemoryError as error:
        print("told:", error)

pool = polyproc.get_context("fork").Pool(2)
pool.apply(abs, (-1,))
engine, ended = pool._engine, pool._engine._ended
if sys.argv[1] == "once":
    engine._ended = fails(True)
    os.kill(pool._pool[0].pid, signal.SIGKILL)
    while not engine.scheduler.state:
        time.sleep(0.01)
else:
    thread = threading.Thread(target=call)
    thread.start()
    while not engine.scheduler.open:
        time.sleep(0.01)
    engine._step = fails(False)
    engine.wake()
    thread.join()
pool.terminate()
pool.join()
print("the end")
"""


@pytest.mark.parametrize(("how", "said"), [("once", "the end\n"), ("always", "told: not now\nthe end\n")])
def test_a_pool_whose_thread_can_hear_nobody_ends_and_whoever_waits_is_told(how, said):
    """No memory, say, just as a worker's end was to be heard, or from then on."""
    command = [sys.executable, "-c", NO_MEMORY, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == (said, 0)
    assert "a pool's thread failed" in done.stderr


def test_a_worker_that_is_told_to_end_between_its_calls_tears_down(tmp_path, capfd):
    path = tmp_path / "log"
    for _ in range(20):
        with polyproc.get_context("fork").Pool(2, pool_work.with_state, (str(path), "x")) as pool:
            eventually(lambda pool=pool: pool.stats().idle == 2)  # one that is still setting up is between no calls
            results = [pool.apply_async(pool_work.double, (number,)) for number in range(50)]
            results[0].get(20)
    lines = path.read_text().splitlines()
    assert lines.count("set up") == lines.count("torn down")
    assert "Traceback" not in capfd.readouterr().err


def test_an_idle_pool_takes_no_time_at_its_end(ctx):
    """Workers that leave at a pool's end have no idle time to be over."""
    pool = ctx.Pool(1, idle_timeout=0.01)
    for _ in range(3):
        assert pool.apply(abs, (-1,)) == 1
    result = pool.apply_async(pool_work.nap, (0.5,))
    pool.close()
    assert pool._engine.scheduler.next_tick() > time.monotonic() + 0.1
    assert result.get(20) == 0.5
    pool.join()


@pytest.mark.skipif(not _native.native, reason="a pipe's own calls are counted, too")
@pytest.mark.parametrize("size", ["1", "2"])
def test_submitting_is_short(method, size):
    """What a call costs its caller is counted in calls of Python's."""
    done = run_program("counts_calls.py", method, size)
    assert done.returncode == 0, done.stderr
    assert all(int(count) <= 25 for count in done.stdout.split()), done.stdout


def test_an_imap_whose_items_end_just_as_its_pool_is_terminated_ends(ctx):
    """Its reader is told of either end by the scheduler, and not by the thread that takes the items."""
    goes_on = threading.Event()

    def items():
        yield 1
        goes_on.wait(20)
        yield from (2, 3)

    before = set(threading.enumerate())
    pool = ctx.Pool(1)
    results = pool.imap(abs, items())
    assert results.next(20) == 1
    (feeder,) = (thread for thread in set(threading.enumerate()) - before if thread.name == "polyproc-imap")
    outcomes = pool._engine.outcomes
    with outcomes._settles:  # as if the thread that delivers came a little later
        pool.terminate()
        goes_on.set()
        feeder.join(20)
        assert not feeder.is_alive()
    outcomes.deliver()
    with pytest.raises(polyproc.ProcessError, match="terminated"):
        results.next(20)
    with pytest.raises(StopIteration):
        results.next(20)


@pytest.mark.skipif(not _native.native, reason="a pipe's own files are walked, too")
def test_a_call_and_back_is_followed_through_few_files(method):
    """Counted are files that run code of Python's: in the caller's process, of all its threads; and in the worker.

    A function of main is looked up in one more file: whether it is still the one that the workers have.
    """
    done = run_program("walks_files.py", method)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["of a module"]) <= 7, found
    assert len(found["of main"]) <= 8, found
    assert len(found["in the worker"]) <= 3, found


@pytest.mark.parametrize("raised", [KeyboardInterrupt, DeprecationWarning])
def test_an_executor_whose_first_start_was_broken_off_answers(monkeypatch, raised):
    """By a Ctrl-C, or by a warning that the program has raised: its workers are heard all the same."""

    def broken_off(kept):
        raise raised

    monkeypatch.setattr("polyproc._workers.worker_set.PoolForkServer", broken_off)
    with polyproc.ProcessPoolExecutor(2, polyproc.get_context("fork")) as executor:
        with contextlib.suppress(KeyboardInterrupt):
            assert executor.submit(pool_work.double, 1).result(20) == 2
        assert executor.submit(pool_work.double, 2).result(20) == 4
