import os

import pytest
import targets

import polyproc


def test_pool_maps_and_hears_of_errors():
    with polyproc.Pool(2) as pool:
        assert pool.map(targets.double, range(20)) == [2 * number for number in range(20)]
        assert sorted(pool.imap_unordered(targets.double, range(5))) == [0, 2, 4, 6, 8]
        with pytest.raises(ValueError, match="what"):
            pool.apply(targets.fail, ("what",))
        pool.close()
        pool.join()


def test_killed_worker_costs_its_call_alone():
    with polyproc.Pool(2) as pool:
        before = [pool.apply_async(targets.double, (number,)) for number in range(10)]
        died = pool.apply_async(targets.end_at_once, (3,))
        after = [pool.apply_async(targets.double, (number,)) for number in range(10)]
        with pytest.raises(polyproc.ProcessDied):
            died.get(40)
        assert [result.get(40) for result in before + after] == [2 * n for n in range(10)] * 2


def test_large_tasks_and_results_travel():
    with polyproc.Pool(1) as pool:
        assert len(pool.apply(targets.double, (b"x" * 3_000_000,))) == 6_000_000


def test_executor_runs_functions_by_value():
    with polyproc.ProcessPoolExecutor(2) as executor:
        assert executor.submit(lambda number: number + 1, 4).result(40) == 5
        assert list(executor.map(targets.double, range(4))) == [0, 2, 4, 6]
        assert executor.submit(os.getpid).result(40) != os.getpid()
