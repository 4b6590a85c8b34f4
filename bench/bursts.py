"""What many single calls at once cost, as people write them, against the standard library, turn by turn.

    python bench/bursts.py [--rounds N] [--only WORDS]

Each run is a process of its own, so that its garbage is its own. It makes a pool of two workers by fork, warms it, and
takes the time of one burst. Of a large map the most memory that the process had is quoted instead.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

LIBRARIES = "multiprocessing", "polyproc"
WORKERS = 2
CALLS, SUBMITS, SHORT, ITEMS = 200_000, 100_000, 20_000, 2_000_000
THREADS, EACH = 16, 200


def same(value: int) -> int:
    """What the workers run."""
    return value


def _pool(library: str) -> Any:
    pool = import_module(library).get_context("fork").Pool(WORKERS)
    pool.map(same, range(100), 1)
    return pool


def _executor(library: str) -> Any:
    if library == "polyproc":
        polyproc: Any = import_module("polyproc")
        made: Any = polyproc.ProcessPoolExecutor(WORKERS, polyproc.get_context("fork"))
    else:
        context = import_module("multiprocessing").get_context("fork")
        made = concurrent.futures.ProcessPoolExecutor(WORKERS, context)
    list(made.map(same, range(100)))
    return made


def applied(pool: Any) -> int:
    """Make many calls, then get each result."""
    results = [pool.apply_async(same, (number,)) for number in range(CALLS)]
    return sum(result.get() for result in results)


def called_back(pool: Any) -> int:
    """Make many calls with callbacks, then get each result."""
    found: list[int] = []
    results = [pool.apply_async(same, (number,), callback=found.append) for number in range(SUBMITS)]
    for result in results:
        result.wait()
    return sum(found)


def submitted(executor: Any) -> int:
    """Submit many calls, then ask each future."""
    futures = [executor.submit(same, number) for number in range(SUBMITS)]
    return sum(future.result() for future in futures)


def completed(executor: Any) -> int:
    """Submit many calls, and take them as they are completed."""
    futures = [executor.submit(same, number) for number in range(SUBMITS)]
    return sum(future.result() for future in concurrent.futures.as_completed(futures))


def by_threads(pool: Any) -> int:
    """Call and wait in many threads at once."""

    def act() -> None:
        for number in range(EACH):
            pool.apply(same, (number,))

    threads = [threading.Thread(target=act) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return THREADS * EACH * (EACH - 1) // 2


def unordered(pool: Any) -> int:
    """Take the results of short calls as they come."""
    return sum(pool.imap_unordered(same, range(SHORT)))


def one_by_one(pool: Any) -> int:
    """Map short calls, each on its own."""
    return sum(pool.map(same, range(SHORT), 1))


def large_map(pool: Any) -> int:
    """Map many items."""
    return sum(pool.map(same, range(ITEMS)))


Act = Callable[[Any], int]

# What makes the pool, what is done with it, how often it is called, and the goal: 0 for none.
CASES: dict[str, tuple[Callable[[str], Any], Act, int, float]] = {
    "apply_async, then get": (_pool, applied, CALLS, 0.35),
    "apply_async with callbacks": (_pool, called_back, SUBMITS, 0.0),
    "submit, then result": (_executor, submitted, SUBMITS, 0.35),
    "submit, as_completed": (_executor, completed, SUBMITS, 0.35),
    "Pool.apply by 16 threads": (_pool, by_threads, THREADS * EACH, 1.0),
    "imap_unordered, short calls": (_pool, unordered, SHORT, 0.0),
    "map, chunksize=1, short calls": (_pool, one_by_one, SHORT, 0.0),
    "map of two million: memory": (_pool, large_map, 1, 1.0),
}
AGAINST_MAP = "imap_unordered, short calls", "map, chunksize=1, short calls", 3.0


def run_one(library: str, name: str) -> float:
    """Run a case here; return its cost: seconds for a call, or MiB."""
    make, act, calls, _ = CASES[name]
    pool = make(library)
    begin = time.perf_counter()
    act(pool)
    taken = time.perf_counter() - begin
    (pool.shutdown if hasattr(pool, "shutdown") else pool.terminate)()
    if "memory" in name:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return taken / calls


def _run(library: str, name: str) -> float:
    command = [sys.executable, os.path.abspath(__file__), "--run", library, name]
    return float(json.loads(subprocess.check_output(command, text=True)))


def _print(name: str, ratio: float, goal: float, values: str) -> bool:
    mark = "" if not goal else "   reached" if ratio <= goal else "   MISSED"
    print(f"  {name:<36} {ratio:8.3f}  {f'{goal:.2f}' if goal else '    '}  {values}{mark}", flush=True)
    return not goal or ratio <= goal


def measure(words: str, rounds: int) -> list[str]:
    """Measure the cases whose name has these words; return the names of what misses its goal."""
    chosen = [name for name in CASES if words in name or words in "bursts"]
    if not chosen:
        return []
    print("\nbursts" + 34 * " " + "ratio  goal         ours      theirs")
    missed, ours = [], {}
    for name in chosen:
        found: dict[str, list[float]] = {library: [] for library in LIBRARIES}
        for number in range(rounds):
            for library in LIBRARIES if number % 2 else reversed(LIBRARIES):
                found[library].append(_run(library, name))
        theirs, ours[name] = (found[library] for library in LIBRARIES)
        ratio = statistics.median(mine / other for mine, other in zip(ours[name], theirs, strict=True))
        unit, factor = ("MiB", 1.0) if "memory" in name else ("us", 1e6)
        values = [f"{statistics.median(times) * factor:8.1f} {unit}" for times in (ours[name], theirs)]
        if not _print(name, ratio, CASES[name][3], " ".join(values)):
            missed.append(name)
    imap, mapped, goal = AGAINST_MAP
    if imap in ours and mapped in ours:
        ratio = statistics.median(ours[imap]) / statistics.median(ours[mapped])
        if not _print("imap_unordered, against map", ratio, goal, ""):
            missed.append("imap_unordered, against map")
    return missed


def main() -> None:
    """Measure, and print; or run one case, and print what it took."""
    parser = argparse.ArgumentParser(description="what many single calls at once cost")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="the cases whose name has these words")
    parser.add_argument("--run", nargs=2, metavar=("LIBRARY", "CASE"), help="run one case here")
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run_one(*options.run)))
        return
    print(f"Python {sys.version.split()[0]}, {len(os.sched_getaffinity(0))} processors, {options.rounds} rounds")
    missed = measure(options.only, options.rounds)
    print("\n" + (f"missed: {'; '.join(missed)}" if missed else "every goal was reached"))


if __name__ == "__main__":
    main()
