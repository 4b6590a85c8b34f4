"""Random operations on pools, executors and tasks, from several threads: each call has its one outcome, all ends."""

import asyncio
import concurrent.futures
import contextlib
import gc
import os
import threading
import time
import traceback

import pytest

import polyproc
from polyproc.pool import BrokenProcessPool, ThreadPool
from support import pool_work

LIMIT = 60.0
EPISODES, AT_A_TIME = int(os.environ.get("POLYPROC_EPISODES", "500")), 25
ENDED = (
    polyproc.ProcessError,
    polyproc.ProcessDied,
    TimeoutError,
    concurrent.futures.CancelledError,
    concurrent.futures.BrokenExecutor,
    asyncio.CancelledError,
)


class OddError(Exception):
    __notes__ = "no list"

    def __repr__(self):
        raise SystemExit


def fail():
    raise OddError


def kill_worker():
    os._exit(3)


class Unpicklable:
    def __reduce__(self):
        raise ZeroDivisionError


def make_unpicklable():
    return Unpicklable()


def items(chance, count):
    """Yield numbers; perhaps fail in between."""
    fails_at = chance.randrange(count + 1) if chance.random() < 0.2 else None
    for number in range(count):
        if number == fails_at:
            raise KeyError("the iterable fails")
        yield number


class Episode:
    """A pool, what is done to it, and the handles that it gave."""

    def __init__(self, chance, pool, is_executor, most):
        self.most = most  # items of a map
        self.chance = chance
        self.pool = pool
        self.is_executor = is_executor
        self.is_threads = isinstance(pool, ThreadPool)
        self.handles = []  # functions that return an outcome or raise, within a limit
        self.unexpected = []

    def call(self):
        calls = [
            (pool_work.double, (2,), 4),
            (pool_work.nap, (0.01,), 0.01),
            (fail, (), OddError),
        ]
        if not self.is_threads:
            calls += [(make_unpicklable, (), Exception), (kill_worker, (), polyproc.ProcessDied)]
        return self.chance.choice(calls)

    def note(self, get, expected):
        self.handles.append((get, expected))

    def view(self):
        chance, options = self.chance, {}
        if chance.random() < 0.4:
            options["priority"] = chance.randrange(3)
        if chance.random() < 0.3:
            options |= {"retries": chance.randrange(3), "retry_on": chance.choice([OddError, Exception])}
        if chance.random() < 0.3 and not self.is_threads:
            options |= {"timeout": chance.choice([0.01, 5.0]), "grace": chance.choice([0.0, 0.5])}
        return self.pool.options(**options) if options else self.pool

    def submit(self):
        function, args, expected = self.call()
        future = self.view().submit(function, *args)
        self.note(lambda: future.result(LIMIT), expected)
        if self.chance.random() < 0.3:
            time.sleep(self.chance.random() * 0.01)
            future.cancel()
        if self.chance.random() < 0.2:
            future.add_done_callback(lambda done: 1)

    def apply_async(self):
        function, args, expected = self.call()
        called = []
        result = self.view().apply_async(function, args, callback=called.append, error_callback=called.append)

        def get():
            try:
                return result.get(LIMIT)
            finally:
                assert len(called) == 1, "a callback once"

        self.note(get, expected)

    def map_async(self):
        count = self.chance.choice([0, 1, 10, self.most])
        result = self.view().map_async(pool_work.double, range(count), self.chance.choice([None, 1, 7]))
        self.note(lambda: result.get(LIMIT), [2 * number for number in range(count)])

    def imap(self):
        count = self.chance.choice([0, 3, self.most])
        make = self.chance.choice([self.view().imap, self.pool.imap_unordered])
        results = make(
            pool_work.double,
            items(self.chance, count),
            self.chance.choice([1, 1, 5]),
            buffersize=self.chance.choice([None, 1, 4]),
        )
        how = self.chance.choice(["all", "some", "none", "poll", "close"])
        if how == "all":
            self.note(lambda: self.read(results), KeyError)
        elif how == "poll":
            self.poll(results)
        elif how != "none":
            self.take(results, self.chance.randrange(5))
            if how == "close":
                results.close()
                self.note(lambda: self.read(results), KeyError)

    def read(self, results):
        end = time.monotonic() + LIMIT
        while True:
            try:
                results.next(max(end - time.monotonic(), 0))
            except StopIteration:
                return None

    def poll(self, results):
        for _ in range(20):
            try:
                results.next(0)
            except (StopIteration, KeyError, *ENDED):
                pass
            time.sleep(0.0005)

    def take(self, results, count):
        with contextlib.suppress(StopIteration, KeyError, *ENDED):
            for _ in range(count):
                results.next(LIMIT)

    def executor_map(self):
        count = self.chance.choice([0, 3, 40])
        try:
            results = self.view().map(
                pool_work.double,
                items(self.chance, count),
                chunksize=self.chance.choice([1, 3]),
                buffersize=self.chance.choice([None, 1, 4]),
            )
        except KeyError:
            return
        how = self.chance.choice(["all", "some", "none"])
        if how == "all":
            self.note(lambda: list(results) and None, (KeyError, RuntimeError))
        elif how == "some":
            with contextlib.suppress(StopIteration, KeyError, RuntimeError, *ENDED):
                for _ in range(2):
                    next(results)

    def coroutines(self):
        async def main():
            with contextlib.suppress(TimeoutError, OddError, *ENDED):
                await asyncio.wait_for(self.awaited(), self.chance.choice([0.005, LIMIT]))

        asyncio.run(main())

    async def awaited(self):
        if self.is_executor or self.chance.random() < 0.4:
            return await self.pool.submit(pool_work.nap, 0.01)
        if self.chance.random() < 0.5:
            return await self.pool.aio.map(pool_work.double, range(10))
        return [n async for n in self.pool.aio.imap(pool_work.double, range(20), 3)]

    def resize(self):
        self.pool.resize(self.chance.randrange(1, 4))

    def look(self):
        assert self.pool.stats().queued >= 0

    def act(self):
        """Do some things, until the pool takes no more."""
        kinds = [self.submit, self.submit, self.resize, self.look, self.coroutines]
        kinds += [self.executor_map] if self.is_executor else [self.apply_async, self.map_async, self.imap]
        try:
            for _ in range(self.chance.randrange(1, 7)):
                self.chance.choice(kinds)()
        except BrokenProcessPool:  # another thread has ended its workers
            pass
        except (ValueError, RuntimeError) as error:
            if "not running" not in str(error) and "shutdown" not in str(error):
                self.unexpected.append(traceback.format_exc())
        except BaseException:
            self.unexpected.append(traceback.format_exc())

    def end(self):
        """End the pool in one of its ways."""
        pool = self.pool
        if self.is_executor:
            how = self.chance.choice(["wait", "no wait", "cancel", "kill", "terminate"])
            if how in ("kill", "terminate"):
                getattr(pool, how + "_workers")()
            pool.shutdown(wait=how != "no wait", cancel_futures=how == "cancel")
            pool.shutdown()
            return
        how = self.chance.choice(["close", "terminate", "with", "close, terminate"])
        if how == "with":
            with contextlib.suppress(ValueError), pool:
                pass
        for step in how.split(", "):
            if step != "with":
                getattr(pool, step)()
        if how == "close":  # an imap that is not read runs to its end
            pool.join()
        pool.terminate()
        pool.join()

    def check(self):
        """Each handle has its outcome, of a kind that it may have."""
        assert not self.unexpected, self.unexpected
        for get, expected in self.handles:
            begin = time.monotonic()
            try:
                found = get()
                assert found is None or found == expected or not isinstance(expected, int | float | list)
            except ENDED:
                pass
            except BaseException as error:
                kinds = (expected if isinstance(expected, tuple) else (expected,)) + (KeyError,)
                assert isinstance(error, tuple(kind for kind in kinds if isinstance(kind, type))), type(error)
            assert time.monotonic() - begin < LIMIT - 1, "an outcome that never comes"


def run_episode(chance, method):
    ctx = polyproc.get_context(method)
    kind = chance.choice(["pool", "pool", "threads", "executor", "executor"])
    size, state = chance.randrange(1, 4), chance.random()
    limits = {"idle_timeout": 0.02} if chance.random() < 0.2 else {}
    if kind == "pool":
        pool = ctx.Pool(size, maxtasksperchild=2 if state < 0.2 else None, **limits)
    elif kind == "threads":
        pool = ThreadPool(size)
    else:
        pool = polyproc.ProcessPoolExecutor(size, ctx, max_tasks_per_child=2 if state < 0.2 else None, **limits)
    # A new worker for each two calls takes its time.
    episode = Episode(chance, pool, kind == "executor", 20 if state < 0.2 or limits else 300)
    threads = [threading.Thread(target=episode.act) for _ in range(chance.randrange(0, 3))]
    for thread in threads:
        thread.start()
    episode.act()
    early = chance.random() < 0.5
    if early:
        episode.end()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "a thread of the user's waits for ever"
    if not early:
        episode.end()
    episode.check()


def run_episodes(chance, method, count, capfd):
    for number in range(count):
        seed = chance.randrange(2**32)
        print(f"episode {number}: POLYPROC_EPISODE = {seed}", flush=True)
        run_episode(type(chance)(int(os.environ.get("POLYPROC_EPISODE", "0")) or seed), method)
    gc.collect()
    written = capfd.readouterr()
    assert not written.err, written.err
    print(written.out)


def test_a_few_operations(chance, method, capfd):
    run_episodes(chance, method, 5, capfd)


@pytest.mark.chaos
@pytest.mark.parametrize("part", range(EPISODES // AT_A_TIME))
def test_operations(chance, method, capfd, part):
    run_episodes(chance, method, AT_A_TIME, capfd)


@polyproc.task
def doubled(number):
    return number * 2


def test_tasks_that_are_cancelled_at_random(chance):
    from polyproc._pool.task import executors

    try:
        futures = [doubled(number) for number in range(50)]
        cancelled = {number for number in range(50) if chance.random() < 0.3 and futures[number].cancel()}
        for number, future in enumerate(futures):
            if number in cancelled:
                with pytest.raises(concurrent.futures.CancelledError):
                    future.result(LIMIT)
            else:
                assert future.result(LIMIT) == 2 * number
    finally:
        for executor in executors._made.values():
            executor.shutdown()
        executors._made.clear()
