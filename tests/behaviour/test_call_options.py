"""Options of calls: timeouts, cancelling, retries, priorities, progress."""

import asyncio
import concurrent.futures
import os
import signal
import time

import pytest

import polyproc
from conftest import eventually, is_running
from support import pool_work


def lines_of(path):
    return path.read_text().split() if path.exists() else []


def test_a_call_that_takes_too_long_gets_the_error_and_frees_its_worker(ctx):
    with ctx.Pool(1) as pool:
        pid = pool.apply(os.getpid)
        future = pool.options(timeout=0.1).submit(time.sleep, 100)
        with pytest.raises(polyproc.TimeoutError, match="longer than its timeout") as caught:
            future.result(30)
        assert isinstance(caught.value, TimeoutError)
        assert pool.apply(os.getpid) == pid
        assert pool.options(timeout=30).map(pool_work.double, range(100)) == [2 * n for n in range(100)]


def test_what_a_call_does_with_the_error_counts():
    with polyproc.get_context("fork").Pool(1) as pool:
        assert pool.options(timeout=0.1).apply(pool_work.swallow, (100,)) == "TimeoutError"
        assert pool.options(timeout=30).apply(pool_work.swallow, (0.0,)) == "slept"


@pytest.mark.parametrize("function", [pool_work.loop_in_c, pool_work.stubborn])
def test_a_call_that_does_not_end_is_killed(ctx, function, tmp_path):
    args = (str(tmp_path / "pid"),) if function is pool_work.stubborn else ()
    with ctx.Pool(2) as pool:
        futures = [pool.options(timeout=0.1, grace=0.1).submit(function, *args) for _ in range(3)]
        others = [pool.submit(pool_work.double, n) for n in range(50)]
        for future in futures:
            with pytest.raises(polyproc.TimeoutError):
                future.result(30)
        assert [other.result(30) for other in others] == [2 * n for n in range(50)]
        assert pool.stats().lost == 3


def test_the_children_of_a_call_that_is_killed_are_killed(tmp_path):
    path = tmp_path / "pid"
    with polyproc.get_context("fork").Pool(1) as pool:
        future = pool.options(timeout=0.5, grace=0.0).submit(pool_work.start_and_sleep, str(path))
        with pytest.raises(polyproc.TimeoutError):
            future.result(30)
        assert path.exists()
        eventually(lambda: not is_running(int(path.read_text())))


def test_a_call_that_was_taken_back_leaves_its_limit_to_nobody():
    """A worker that gets no processor has not begun a call when its time is up; the next call's time counts all the same."""
    with polyproc.get_context("fork").Pool(1) as pool:
        worker = pool.apply(os.getpid)
        os.kill(worker, signal.SIGSTOP)
        first = pool.options(timeout=0.05, grace=100).submit(time.sleep, 100)
        eventually(lambda: any(load.limit and load.limit.hard for load in pool._engine.scheduler.workers.values()))
        first.cancel()
        os.kill(worker, signal.SIGCONT)
        with pytest.raises(polyproc.TimeoutError):
            pool.options(timeout=0.05).submit(time.sleep, 100).result(30)


def test_a_call_in_time_is_never_ended(ctx):
    with ctx.Pool(2) as pool:
        view = pool.options(timeout=0.2, grace=0.0)
        assert view.map(pool_work.nap, [0.01] * 40) == [0.01] * 40
        assert pool.stats().lost == 0


def test_a_timeout_is_each_items_in_a_map():
    with polyproc.get_context("fork").Pool(2) as pool:
        view = pool.options(timeout=0.5)
        assert view.map(pool_work.nap, [0.05] * 30) == [0.05] * 30
        results = view.imap(pool_work.nap, [0.0, 100.0, 0.01])
        assert next(results) == 0.0
        with pytest.raises(polyproc.TimeoutError):
            next(results)
        assert next(results) == 0.01


def test_cancelled_before_it_begins_never_runs(ctx, tmp_path):
    path = tmp_path / "ran"
    with ctx.Pool(1) as pool:
        first = pool.submit(pool_work.nap, 0.3)
        rest = [pool.submit(pool_work.note, str(path), n) for n in range(6)]
        eventually(first.running)
        for future in rest[:5]:
            assert future.cancel()
            assert future.cancelled()
            assert not future.running()
        with pytest.raises(concurrent.futures.CancelledError):
            rest[0].result(30)
        assert rest[5].result(30) == 5
        assert first.result(30) == 0.3
        assert not first.cancel()
        assert lines_of(path) == ["5"]
        assert concurrent.futures.wait(rest, 30).not_done == set()


def test_cancelled_while_it_runs(ctx, tmp_path):
    with ctx.Pool(2) as pool:
        gentle = pool.submit(pool_work.nap, 100)
        stubborn = pool.options(grace=0.1).submit(pool_work.stubborn, str(tmp_path / "pid"))
        eventually(lambda: gentle.running() and lines_of(tmp_path / "pid"))
        assert gentle.cancel()
        assert stubborn.cancel()
        assert pool.map(pool_work.double, range(20), chunksize=1) == [2 * n for n in range(20)]
        eventually(lambda: not is_running(int(lines_of(tmp_path / "pid")[0])))
        assert pool.apply(pool_work.double, (1,)) == 2


def test_a_retried_call_succeeds_or_says_how_often_it_was_tried(ctx, tmp_path):
    with ctx.Pool(2) as pool:
        assert pool.options(retries=2).submit(pool_work.die_before, str(tmp_path / "a"), 2).result(30) == 3
        others = [pool.submit(pool_work.double, n) for n in range(50)]
        with pytest.raises(polyproc.ProcessDied, match="while it ran die_before") as caught:
            pool.options(retries=1).submit(pool_work.die_before, str(tmp_path / "b"), 9).result(30)
        assert "attempt 2 of 2" in caught.value.__notes__
        assert [other.result(30) for other in others] == [2 * n for n in range(50)]
        view = pool.options(retries=3, retry_on=(OSError, polyproc.ProcessDied))
        assert view.apply(pool_work.fail_before, (str(tmp_path / "c"), 3)) == 4
        with pytest.raises(OSError, match="not yet"):
            pool.options(retries=3).apply(pool_work.fail_before, (str(tmp_path / "d"), 1))  # not what is retried
        assert view.map(pool_work.double, range(30)) == [2 * n for n in range(30)]
        assert pool.stats().retried == 6


def test_priorities(tmp_path):
    path = tmp_path / "order"
    with polyproc.get_context("fork").Pool(1) as pool:
        first = [pool.submit(pool_work.nap, 0.2) for _ in range(2)]
        for priority in (0, -1, 5, 1):
            pool.options(priority=priority).submit(pool_work.note, str(path), priority)
        last = pool.options(priority=-2).submit(pool_work.note, str(path), -2)
        last.result(30)
        del first
    assert lines_of(path) == ["5", "1", "0", "-1", "-2"]


def test_progress_is_told(ctx):
    told = []
    with ctx.Pool(2) as pool:
        view = pool.options(progress=lambda done, total: told.append((done, total)))
        view.map(pool_work.double, range(10), chunksize=3)
        assert told[-1] == (10, 10)
        told.clear()
        assert len(list(view.imap(pool_work.double, iter(range(7)), 2))) == 7
        eventually(lambda: told[-1:] == [(7, None)])
        assert pool.options(progress=True).map(pool_work.double, range(3)) == [0, 2, 4]  # nobody watches: no bar


def test_a_failing_progress_function_does_not_harm(capfd):
    def fail(done, total):
        raise RuntimeError("cannot show it")

    with polyproc.get_context("fork").Pool(1) as pool:
        assert pool.options(progress=fail).map(pool_work.double, range(3)) == [0, 2, 4]
    assert "cannot show it" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"timeout": 0}, ValueError, "timeout must be a positive number"),
        ({"grace": -1}, ValueError, "grace must be"),
        ({"retries": -1}, ValueError, "retries must be zero or more"),
        ({"retries": 1.5}, TypeError, "retries must be an integer"),
        ({"priority": "high"}, TypeError, "priority must be an integer"),
        ({"retry_on": "OSError"}, TypeError, "retry_on must be"),
        ({"progress": 3}, TypeError, "progress must be"),
        ({"timeouts": 3}, TypeError, "unexpected keyword argument 'timeouts'"),
    ],
)
def test_options_are_checked(options, error, text):
    with polyproc.pool.ThreadPool(1) as pool, pytest.raises(error, match=text):
        pool.options(**options)


def test_threads_have_options_too(tmp_path):
    with polyproc.pool.ThreadPool(1) as pool:
        with pytest.raises(ValueError, match="cannot be ended from outside"):
            pool.options(timeout=1)
        assert pool.options(retries=2, retry_on=OSError).apply(pool_work.fail_before, (str(tmp_path / "x"), 2)) == 3
        first = pool.submit(pool_work.nap, 0.1)
        never = pool.submit(pool_work.note, str(tmp_path / "y"), "never")
        order = [pool.options(priority=n).submit(pool_work.note, str(tmp_path / "y"), n) for n in range(3)]
        assert never.cancel()
        assert [future.result(30) for future in order] == [0, 1, 2]
        assert first.result(30) == 0.1
        assert lines_of(tmp_path / "y") == ["2", "1", "0"]
        assert pool.stats().done == 5 + 2


def test_await_in_asyncio(ctx):
    async def main(pool):
        assert await pool.submit(pool_work.double, 4) == 8
        with pytest.raises(ZeroDivisionError):
            await pool.submit(divmod, 1, 0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pool.options(grace=0.1).submit(pool_work.nap, 0.3)), 0.01)
        future = pool.submit(pool_work.nap, 100)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_wait(future), 0.1)
        assert future.cancelled()

    async def _wait(future):
        return await future

    with ctx.Pool(1) as pool:
        asyncio.run(main(pool))
        assert pool.apply(pool_work.double, (1,)) == 2


def test_await_in_trio():
    trio = pytest.importorskip("trio")

    async def main(pool):
        assert await pool.submit(pool_work.double, 4) == 8
        future = pool.submit(pool_work.nap, 100)
        with trio.move_on_after(0.1):
            await future
        assert future.cancelled()

    with polyproc.get_context("fork").Pool(1) as pool:
        trio.run(main, pool)
        with pytest.raises(RuntimeError):
            pool.submit(pool_work.double, 1).__await__().send(None)
