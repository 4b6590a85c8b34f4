"""Take turns, and print medians of ratios."""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from targets import nothing

Contender = Callable[[], float]

GOALS = {
    "fork": 0.65,
    "spawn": 0.28,
    "spawn, spare": 0.06,
    "forkserver": 0.12,
    "forkserver, 1 GiB": 0.10,
    "import": 0.15,
}


def start_and_join(context: Any) -> Contender:
    """Return a contender: a process that does nothing, start to join."""

    def run() -> float:
        start = time.perf_counter()
        process = context.Process(target=nothing)
        process.start()
        process.join()
        return time.perf_counter() - start

    return run


def bare_fork() -> float:
    """The floor of fork."""
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return time.perf_counter() - start


def program(*words: str) -> Contender:
    """Return a contender: this interpreter with a command line."""

    def run() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True)
        return time.perf_counter() - start

    return run


def peers(method: str) -> dict[str, Contender]:
    """Return who starts processes by a method; the standard library first."""
    import multiprocessing

    import billiard
    import multiprocess

    import polyproc

    found = {"standard library": start_and_join(multiprocessing.get_context(method))}
    found["polyproc"] = start_and_join(polyproc.get_context(method))
    found["multiprocess"] = start_and_join(multiprocess.get_context(method))
    if method != "forkserver":  # billiard's does not start on current Pythons
        found["billiard"] = start_and_join(billiard.get_context(method))
    if method == "spawn":
        from loky.backend import get_context

        found["loky"] = start_and_join(get_context("loky"))
        found["floor: python -I -c pass"] = program("-I", "-c", "pass")
        found["floor: python -I -S -c pass"] = program("-I", "-S", "-c", "pass")
    else:
        found["floor: os.fork and _exit"] = bare_fork
    return found


def take_turns(contenders: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Run each contender once a round; leave out one that cannot run."""
    times: dict[str, list[float]] = {}
    for name, run in list(contenders.items()):
        try:
            run()
            run()
        except Exception as error:
            print(f"  ({name} cannot run here: {type(error).__name__}: {error})", file=sys.stderr)
            continue
        times[name] = []
    for number in range(rounds):
        gc.collect()
        for name in times:
            times[name].append(contenders[name]())
        if sys.stderr.isatty():
            print(f"\r  round {number + 1} of {rounds}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return times


def show(case: str, times: dict[str, list[float]], base: list[float]) -> bool:
    """Print a case; return whether polyproc reaches its goal."""
    goal = GOALS.get(case)
    print(f"\n{case}" + (f"   (goal {goal:.2f})" if goal else ""))
    reached = True
    for name, values in times.items():
        ratio = statistics.median(value / other for value, other in zip(values, base, strict=True))
        mark = ""
        if name == "polyproc" and goal:
            reached = ratio <= goal
            mark = "   reached" if reached else "   MISSED"
        print(f"  {name:<28} {ratio:6.3f}   ({statistics.median(values) * 1000:8.2f} ms){mark}", flush=True)
    return reached


def measure_start(case: str, method: str, rounds: int) -> bool:
    """Measure one start method."""
    times = take_turns(peers(method), rounds)
    return show(case, times, times["standard library"])


def measure_spare(rounds: int) -> bool:
    """Measure spawn with a spare that has had time to get ready, as between starts that are not back to back."""
    import multiprocessing

    import polyproc

    spared = start_and_join(polyproc.get_context("spawn", preload=[]))

    def rested() -> float:
        time.sleep(0.1)
        return spared()

    found = {"standard library": start_and_join(multiprocessing.get_context("spawn")), "polyproc": rested}
    times = take_turns(found, rounds)
    return show("spawn, spare", times, times["standard library"])


def measure_big_parent(rounds: int) -> bool:
    """Measure the fork server with a parent that holds 1 GiB, touched."""
    ballast = bytearray(1 << 30)
    for page in range(0, len(ballast), 4096):
        ballast[page] = 1
    found = peers("forkserver")
    del found["multiprocess"]
    times = take_turns(found, max(rounds // 2, 5))
    return show("forkserver, 1 GiB", times, times["standard library"])


def measure_import(rounds: int) -> bool:
    """Measure what an import adds to an interpreter that does nothing else."""
    names = {"standard library": "multiprocessing", "polyproc": "polyproc", "multiprocess": "multiprocess"}
    contenders = {name: program("-c", f"import {module}") for name, module in names.items()}
    times = take_turns({"bare": program("-c", "pass"), **contenders}, rounds)
    bare = times.pop("bare")
    added = {
        name: statistics.median(v - b for v, b in zip(values, bare, strict=True)) for name, values in times.items()
    }
    print(f"\nimport   (goal {GOALS['import']:.2f})")
    for name, value in added.items():
        ratio = value / added["standard library"]
        mark = ("   reached" if ratio <= GOALS["import"] else "   MISSED") if name == "polyproc" else ""
        print(f"  {name:<28} {ratio:6.3f}   ({value * 1000:8.2f} ms){mark}", flush=True)
    return added["polyproc"] / added["standard library"] <= GOALS["import"]


def main() -> int:
    """Run everything."""
    parser = argparse.ArgumentParser(description="what starting a process costs")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", default="", help="cases whose name has this word")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print(f"Python {sys.version.split()[0]}, {len(os.sched_getaffinity(0))} processors, {options.rounds} rounds")
    cases: dict[str, Callable[[], bool]] = {
        "import": lambda: measure_import(options.rounds),
        "fork": lambda: measure_start("fork", "fork", options.rounds * 3),
        "spawn": lambda: measure_start("spawn", "spawn", options.rounds),
        "spawn, spare": lambda: measure_spare(options.rounds),
        "forkserver": lambda: measure_start("forkserver", "forkserver", options.rounds * 2),
        "forkserver, 1 GiB": lambda: measure_big_parent(options.rounds),
    }
    missed = [name for name, run in cases.items() if options.only in name and not run()]
    print("\n" + (f"missed: {', '.join(missed)}" if missed else "every goal was reached"))
    return 0
