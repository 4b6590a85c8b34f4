"""The pool that is here: its calls, and what goes wrong in them."""

import os
import signal

import pytest

import polyproc
from behaviour import targets


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
