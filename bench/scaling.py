"""What many processes at once cost, against the standard library: a lock that all want, queues, pools, a manager.

    python bench/scaling.py [--processes N] [--rounds N] [--only WORD]

Each measure is a function of a context and a number of processes that returns seconds for one operation of the whole
crowd. The libraries take turns; quoted are medians of the rounds' ratios. N is the number of processors, if not given.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

Measure = Callable[[Any, int], float]

TURNS = 40_000  # of the whole crowd
ITEMS = 40_000


def _crowd(context: Any, count: int, target: Callable[..., object], *args: Any) -> float:
    """Return the seconds from the moment when all are there to the end of the last."""
    ready, go = context.Semaphore(0), context.Event()
    processes = [context.Process(target=_begin, args=(ready, go, target, args)) for _ in range(count)]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    begin = time.perf_counter()
    go.set()
    for process in processes:
        process.join()
    taken = time.perf_counter() - begin
    if any(process.exitcode for process in processes):
        raise RuntimeError("a process failed")
    return taken


def _begin(ready: Any, go: Any, target: Callable[..., object], args: tuple[Any, ...]) -> None:
    ready.release()
    go.wait()
    target(*args)


def _hammer(lock: Any, times: int) -> None:
    for _ in range(times):
        with lock:
            pass


def lock(context: Any, count: int) -> float:
    times = TURNS // count
    return _crowd(context, count, _hammer, context.Lock(), times) / (times * count)


def semaphore(context: Any, count: int) -> float:
    times = TURNS // count
    return _crowd(context, count, _hammer, context.Semaphore(max(count // 2, 1)), times) / (times * count)


def _add(value: Any, times: int) -> None:
    for _ in range(times):
        with value.get_lock():
            value.value += 1


def value(context: Any, count: int) -> float:
    times, total = TURNS // count, context.Value("q")
    taken = _crowd(context, count, _add, total, times)
    if total.value != times * count:
        raise RuntimeError("a step was lost")
    return taken / (times * count)


def _pass(barrier: Any, times: int) -> None:
    for _ in range(times):
        barrier.wait()


def barrier(context: Any, count: int) -> float:
    return _crowd(context, count, _pass, context.Barrier(count), 500) / 500


def _wait_turn(condition: Any, turn: Any, mine: int, count: int, times: int) -> None:
    for _ in range(times):
        with condition:
            while turn.value != mine:
                condition.wait()
            turn.value = (mine + 1) % count
            condition.notify_all()


def _wait_turns(condition: Any, turn: Any, numbers: Any, count: int, times: int) -> None:
    with numbers.get_lock():
        mine = numbers.value
        numbers.value += 1
    _wait_turn(condition, turn, mine, count, times)


def condition(context: Any, count: int) -> float:
    args = (context.Condition(), context.RawValue("i"), context.Value("i"), count, 50)
    return _crowd(context, count, _wait_turns, *args) / (50 * count)


def _trade(numbers: Any, queue: Any, producers: int, count: int, item: Any) -> None:
    with numbers.get_lock():
        mine = numbers.value
        numbers.value += 1
    if mine < producers:
        for _ in range(ITEMS // producers):
            queue.put(item)
        queue.close()
        queue.join_thread()
        return
    consumers = count - producers
    total = ITEMS // producers * producers
    for _ in range(total // consumers + (mine - producers < total % consumers)):
        queue.get()


def _queue(producers: int, consumers: int, item: Any) -> Measure:
    """Shares of the crowd: 1 and 1 are half and half; 0 is one process."""

    def measure(context: Any, count: int) -> float:
        half = max(count // 2, 1)
        first = half if producers else 1
        last = half if consumers else 1
        taken = _crowd(context, first + last, _trade, context.Value("i"), context.Queue(), first, first + last, item)
        return taken / ITEMS

    return measure


def _same(item: Any) -> Any:
    return item


def _in_pool(act: Callable[[Any, int], int]) -> Measure:
    def measure(context: Any, count: int) -> float:
        pool = context.Pool(count)
        act(pool, count)
        begin = time.perf_counter()
        times = act(pool, count)
        taken = time.perf_counter() - begin
        pool.close()
        pool.join()
        return taken / times

    return measure


def _map_one(pool: Any, count: int) -> int:
    pool.map(_same, range(10_000), 1)
    return 10_000


def _map_default(pool: Any, count: int) -> int:
    pool.map(_same, range(200_000))
    return 200_000


def _work(item: int) -> int:
    """Run for some 200 microseconds."""
    return sum(range(item % 100 + 10_000))


def _map_work(pool: Any, count: int) -> int:
    pool.map(_work, range(4_000), 1)
    return 4_000


def _imap_unordered(pool: Any, count: int) -> int:
    return sum(1 for _ in pool.imap_unordered(_same, range(4_000)))


def _arrays(pool: Any, count: int) -> int:
    array = import_module("numpy").zeros(1 << 20, "u1")
    pool.map(_same, [array] * 8 * count, 1)
    return 8 * count


def _apply_threads(pool: Any, count: int) -> int:
    def call() -> None:
        for _ in range(100):
            pool.apply(_same, (1,))

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 100 * count


def start_and_end(context: Any, count: int) -> float:
    begin = time.perf_counter()
    pool = context.Pool(count)
    pool.map(_same, range(100), 1)
    pool.close()
    pool.join()
    return time.perf_counter() - begin


def _starts(context: Any, count: int) -> float:
    begin = time.perf_counter()
    processes = [context.Process(target=_same, args=(1,)) for _ in range(4 * count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return (time.perf_counter() - begin) / (4 * count)


def _use(shared: Any, times: int) -> None:
    for number in range(times):
        shared[number % 10] = number
        shared.get(number % 10)


def manager(context: Any, count: int) -> float:
    with context.Manager() as made:
        return _crowd(context, count, _use, made.dict(), 4_000 // count) / (2 * (4_000 // count) * count)


MEASURES: dict[str, Measure] = {
    "with lock": lock,
    "semaphore of half as many": semaphore,
    "Value += 1 under its lock": value,
    "barrier, one round": barrier,
    "condition, turns by notify_all": condition,
    "queue, half put and half get, 64 bytes": _queue(1, 1, b"x" * 64),
    "queue, one puts": _queue(0, 1, b"x" * 64),
    "queue, one gets": _queue(1, 0, b"x" * 64),
    "starts at once": _starts,
    "pool, start and end": start_and_end,
    "pool, map of nothing, chunksize=1": _in_pool(_map_one),
    "pool, map of nothing, default chunks": _in_pool(_map_default),
    "pool, map of 200 us, chunksize=1": _in_pool(_map_work),
    "pool, imap_unordered": _in_pool(_imap_unordered),
    "pool, 1 MiB arrays in and out": _in_pool(_arrays),
    "pool, apply from as many threads": _in_pool(_apply_threads),
    "manager, dict set and get": manager,
}


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description="what many processes at once cost")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="measures whose name has this word")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the standard library's pools have threads when others are forked
    contexts = {name: import_module(name).get_context("fork") for name in ("multiprocessing", "polyproc")}
    print(f"{options.processes} processes on {len(os.sched_getaffinity(0))} processors, {options.rounds} rounds")
    for name, measure in MEASURES.items():
        if options.only not in name:
            continue
        times: dict[str, list[float]] = {library: [] for library in contexts}
        for number in range(options.rounds):
            for library in list(contexts)[:: -1 if number % 2 else 1]:
                times[library].append(measure(contexts[library], options.processes))
        ratio = statistics.median(a / b for a, b in zip(times["polyproc"], times["multiprocessing"], strict=True))
        mine, other = (statistics.median(times[library]) * 1e6 for library in ("polyproc", "multiprocessing"))
        print(f"  {name:<42} {ratio:6.3f}  {mine:10.3f} us {other:10.3f} us", flush=True)


if __name__ == "__main__":
    main()
