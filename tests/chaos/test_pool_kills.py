"""Workers of a pool SIGKILLed at random: a kill costs at most the call that the worker ran, and nothing hangs."""

import concurrent.futures
import os
import signal
import time

import pytest

import polyproc
from support import pool_work

pytestmark = pytest.mark.chaos
SECONDS = float(os.environ.get("POLYPROC_CHAOS_SECONDS", "3"))


def kill_one(pool, chance):
    """Kill a worker; return whether there was one."""
    pids = [process.pid for process in pool._pool if process.pid]
    if not pids:
        return False
    try:
        os.kill(chance.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def outcome(result):
    try:
        return result.get(60)
    except polyproc.ProcessDied as died:
        return died


def test_calls(chance):
    """Each call returns what it should, or raises ProcessDied; none runs twice; the pool is as good as new after."""
    with polyproc.get_context("fork").Pool(3) as pool:
        kills = calls = lost = 0
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            results = [pool.apply_async(pool_work.slowly, (number, 0.001)) for number in range(60)]
            for _ in range(3):
                time.sleep(chance.random() * 0.01)
                kills += kill_one(pool, chance)
            for number, result in enumerate(results):
                found = outcome(result)
                calls += 1
                if isinstance(found, polyproc.ProcessDied):
                    lost += 1
                    assert found.signal == signal.SIGKILL
                else:
                    assert found == (number, number * 2)
        assert lost <= kills
        print(f"{kills} kills, {calls} calls, {lost} of them died with their worker")
        assert [pool.apply(pool_work.slowly, (number, 0)) for number in range(10)][9] == (9, 18)


def test_nothing_runs_twice(chance, tmp_path):
    """Calls leave a mark as they begin: never two of one."""
    marks = tmp_path / "marks"
    marks.touch()
    with polyproc.get_context("fork").Pool(3) as pool:
        end, total = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            results = [pool.apply_async(pool_work.mark, (str(marks), total + number)) for number in range(50)]
            total += 50
            time.sleep(chance.random() * 0.01)
            kill_one(pool, chance)
            for result in results:
                outcome(result)
    numbers = [int(line) for line in marks.read_text().split()]
    assert len(numbers) == len(set(numbers))
    assert set(numbers) <= set(range(total))


def test_maps(chance):
    """A map is right as a whole, or raises ProcessDied."""
    with polyproc.get_context("fork").Pool(3) as pool:
        expected = [number * 2 for number in range(3000)]
        end, whole, broken = time.monotonic() + SECONDS, 0, 0
        while time.monotonic() < end:
            result = pool.map_async(pool_work.double, range(3000), chunksize=1)
            if chance.random() < 0.7:
                time.sleep(chance.random() * 0.005)
                kill_one(pool, chance)
            found = outcome(result)
            if isinstance(found, polyproc.ProcessDied):
                broken += 1
            else:
                whole += 1
                assert found == expected
        print(f"{whole} whole, {broken} with a killed worker")
        assert whole > 0


def test_calls_that_are_alone(chance):
    """Each has its value or its worker's death: also where its caller, and no other, hears what a worker says."""
    kills, lost = 0, []
    with polyproc.get_context("fork").Pool(2) as pool:

        def call(numbers):
            for number in numbers:
                try:
                    assert pool.apply(pool_work.slowly, (number, 0)) == (number, number * 2)
                except polyproc.ProcessDied as died:
                    lost.append(died.signal)

        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with concurrent.futures.ThreadPoolExecutor(2) as threads:
                calls = [threads.submit(call, range(150)) for _ in range(chance.choice((1, 1, 2)))]
                while not all(made.done() for made in calls):
                    time.sleep(chance.random() * 0.01)
                    kills += kill_one(pool, chance)
                assert [made.result(60) for made in calls] == [None] * len(calls)
        assert set(lost) <= {signal.SIGKILL}
        assert len(lost) <= kills
        assert pool.apply(pool_work.slowly, (1, 0)) == (1, 2)
    print(f"{kills} kills, {len(lost)} calls died with their worker")
