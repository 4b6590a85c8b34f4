"""What calls in a pool cost: each measure is a function of a library that returns seconds for one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

WORKERS = 2
CALLS = 2_000
ITEMS = 100_000
TURNS = 200


def same(value: Any) -> Any:
    """What the workers run."""
    return value


PEERS = ("multiprocess", "billiard", "loky", "joblib", "mpire", "pebble")


class LokyPool:
    """loky's executor in the shape of a pool."""

    def __init__(self) -> None:
        self._executor = import_module("loky").ProcessPoolExecutor(WORKERS)

    def apply(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return self._executor.submit(function, *args).result()

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        return list(self._executor.map(function, items, chunksize=chunksize or ITEMS // (4 * WORKERS)))

    def close(self) -> None:
        self._executor.shutdown(wait=True)

    def join(self) -> None:
        pass


class JoblibPool(LokyPool):
    """joblib's Parallel on its own processes, which it keeps between calls."""

    def __init__(self) -> None:
        self._joblib = import_module("joblib")
        self._parallel = self._joblib.Parallel(WORKERS)
        self._one = self._joblib.Parallel(WORKERS, batch_size=1)

    def apply(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return self._one([self._joblib.delayed(function)(*args)])[0]

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        parallel = self._parallel if chunksize is None else self._one
        return list(parallel(self._joblib.delayed(function)(item) for item in items))

    def close(self) -> None:
        import_module("joblib.externals.loky").get_reusable_executor().shutdown(wait=True)


class MpirePool(LokyPool):
    """mpire's WorkerPool, which keeps its workers."""

    def __init__(self) -> None:
        self._pool = import_module("mpire").WorkerPool(WORKERS, keep_alive=True)

    def apply(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return self._pool.apply(function, args)

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        return list(self._pool.map(function, items, chunk_size=chunksize))

    def close(self) -> None:
        self._pool.stop_and_join()


class PebblePool(LokyPool):
    """pebble's ProcessPool."""

    def __init__(self) -> None:
        context = import_module("multiprocessing").get_context("fork")
        self._pool = import_module("pebble").ProcessPool(WORKERS, context=context)

    def apply(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return self._pool.schedule(function, args).result()

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        size = chunksize or ITEMS // (4 * WORKERS)
        return list(self._pool.map(function, items, chunksize=size).result())

    def close(self) -> None:
        self._pool.close()
        self._pool.join()


OTHERS: dict[str, Callable[[], Any]] = {
    "loky": LokyPool,
    "joblib": JoblibPool,
    "mpire": MpirePool,
    "pebble": PebblePool,
}


class Library:
    """A library under its name, with one pool for all measures of a round."""

    def __init__(self, name: str) -> None:
        self.name = name
        module = import_module(name)
        self.context = None if name in OTHERS else module.get_context("fork")

    def pool(self) -> Any:
        """Make a pool whose workers run."""
        pool = OTHERS[self.name]() if self.context is None else self.context.Pool(WORKERS)
        pool.map(same, range(100), 1)
        return pool


Measure = Callable[[Library], float]


def _with_pool(act: Callable[[Any], object], times: int) -> Measure:
    def measure(library: Library) -> float:
        pool = library.pool()
        act(pool)
        begin = time.perf_counter()
        act(pool)
        taken = time.perf_counter() - begin
        pool.close()
        pool.join()
        return taken / times

    return measure


def _calls(times: int, value: Any = 1) -> Callable[[Any], object]:
    def act(pool: Any) -> None:
        for _ in range(times):
            pool.apply(same, (value,))

    return act


def _arrays(mebibytes: int, times: int) -> Callable[[Any], object]:
    def act(pool: Any) -> None:
        _calls(times, import_module("numpy").zeros(mebibytes << 20, "u1"))(pool)

    return act


def start_and_end(library: Library) -> float:
    begin = time.perf_counter()
    pool = library.pool()
    pool.close()
    pool.join()
    return time.perf_counter() - begin


MEASURES: dict[str, tuple[Measure, float]] = {
    "Pool.map, chunksize=1": (_with_pool(lambda pool: pool.map(same, range(CALLS), 1), CALLS), 0.25),
    "Pool.apply, there and back": (_with_pool(_calls(TURNS), TURNS), 0.4),
    "Pool.map, default chunks": (_with_pool(lambda pool: pool.map(same, range(ITEMS)), ITEMS), 1.0),
    "Pool, 1 MiB array in and out": (_with_pool(_arrays(1, 10), 10), 0.2),
    "Pool, 16 MiB array in and out": (_with_pool(_arrays(16, 3), 3), 0.2),
    "Pool, start and end": (start_and_end, 0.3),
}
