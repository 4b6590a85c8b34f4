"""Take turns, and print medians of ratios."""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import bursts
import cold
import managers
import messages
import placement
import pools
import sharing

Contender = Callable[[], float]

GOALS = {
    "fork": 0.65,
    "spawn": 0.28,
    "spawn, spare": 0.06,
    "forkserver": 0.12,
    "forkserver, 1 GiB": 0.10,
    "import": 0.15,
}
BASE = "standard library"
RESTS = {"spawn, spare": 0.1, "forkserver": 0.02, "forkserver, 1 GiB": 0.02}


class Served:
    """A contender that runs in a process of its own, so that none pays for what another has loaded."""

    def __init__(self, library: str, method: str, mebibytes: int) -> None:
        script = str(Path(__file__).with_name("contender.py"))
        self._process = subprocess.Popen(
            [sys.executable, script, library, method, str(mebibytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _line(self) -> str:
        assert self._process.stdout is not None  # it is a pipe
        return self._process.stdout.readline().strip()

    def is_ready(self) -> bool:
        """Wait until it has run twice; say whether it could."""
        return self._line() == "ready"

    def __call__(self) -> float:
        """Have it run once."""
        assert self._process.stdin is not None  # it is a pipe
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def program(*words: str) -> Contender:
    """Return a contender: this interpreter with a command line."""

    def run() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True)
        return time.perf_counter() - start

    return run


def take_turns(contenders: dict[str, Contender], rounds: int, rest: float = 0.0) -> dict[str, list[float]]:
    """Run each contender once a round, each in turn first; return their times."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(times)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(rest)
            times[name].append(contenders[name]())
        if sys.stderr.isatty():
            print(f"\r  round {number + 1} of {rounds}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return times


def median_ratio(values: list[float], base: list[float]) -> float:
    """Return the median of the ratios, round by round."""
    return statistics.median(value / other for value, other in zip(values, base, strict=True))


def show(case: str, times: dict[str, list[float]]) -> bool:
    """Print a case; return whether polyproc reaches its goal."""
    goal = GOALS[case]
    print(f"\n{case}   (goal {goal:.2f})")
    reached = True
    for name, values in times.items():
        ratio = median_ratio(values, times[BASE])
        mark = ""
        if name == "polyproc":
            reached = ratio <= goal
            mark = "   reached" if reached else "   MISSED"
        print(f"  {name:<28} {ratio:6.3f}   ({statistics.median(values) * 1000:8.2f} ms){mark}", flush=True)
    return reached


def measure_start(case: str, method: str, libraries: dict[str, str], rounds: int, mebibytes: int = 0) -> bool:
    """Measure starts; each contender is a process that holds `mebibytes`, but for the floor.

    A fork server does not hold what its client does: its floor is the fork of a small process. That of a large one
    would push everybody else's memory out of the processor's caches, too.
    """
    served = {
        name: Served(library, method, 0 if library == "floor" else mebibytes) for name, library in libraries.items()
    }
    contenders: dict[str, Contender] = {}
    for name, contender in served.items():
        if contender.is_ready():
            contenders[name] = contender
        else:
            print(f"  ({name} cannot run here)", file=sys.stderr)
    if case == "spawn":
        contenders["floor: python -I -c pass"] = program("-I", "-c", "pass")
        contenders["floor: python -I -S -c pass"] = program("-I", "-S", "-c", "pass")
    # What a contender makes ready for its next start must not fall into another's turn: all have the same rest.
    times = take_turns(contenders, rounds, RESTS.get(case, 0.0))
    for contender in served.values():
        contender.close()
    return show(case, times)


def measure_import(rounds: int) -> bool:
    """Measure what an import adds to an interpreter that does nothing else."""
    names = {BASE: "multiprocessing", "polyproc": "polyproc", "multiprocess": "multiprocess"}
    contenders = {name: program("-c", f"import {module}") for name, module in names.items()}
    times = take_turns({"bare": program("-c", "pass"), **contenders}, rounds)
    bare = statistics.median(times.pop("bare"))
    added = {name: statistics.median(values) - bare for name, values in times.items()}
    print(f"\nimport   (goal {GOALS['import']:.2f})")
    for name, value in added.items():
        ratio = value / added[BASE]
        mark = ("   reached" if ratio <= GOALS["import"] else "   MISSED") if name == "polyproc" else ""
        print(f"  {name:<28} {ratio:6.3f}   ({value * 1000:8.2f} ms){mark}", flush=True)
    return added["polyproc"] / added[BASE] <= GOALS["import"]


def measure_sharing(words: str, rounds: int) -> list[str]:
    """Measure shared objects, the two libraries in turn; return the names of what misses its goal."""
    theirs = import_module("multiprocessing").get_context("fork")
    ours = import_module("polyproc").get_context("fork")
    chosen = {name: entry for name, entry in sharing.MEASURES.items() if words in name or words in "sharing"}
    if not chosen:
        return []
    missed = []
    print("\nshared objects" + 30 * " " + "ratio  goal        ours      theirs")
    for name, (measure, goal) in chosen.items():
        times: dict[str, list[float]] = {BASE: [], "polyproc": []}
        for number in range(rounds):
            contenders = [("polyproc", ours), (BASE, theirs)]
            for who, context in contenders if number % 2 else reversed(contenders):
                times[who].append(measure(context))
        ratio = median_ratio(times["polyproc"], times[BASE])
        mine, other = (statistics.median(times[who]) * 1e6 for who in ("polyproc", BASE))
        mark = "reached" if ratio <= goal else "MISSED"
        print(f"  {name:<40} {ratio:6.3f}  {goal:.2f}  {mine:8.3f} us {other:8.3f} us   {mark}", flush=True)
        if ratio > goal:
            missed.append(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        taken = sorted(sharing.recoveries(ours, 1000))
    late = sum(value > 0.05 for value in taken)
    print(f"  a killed holder's lock, 1000 kills: {late} later than 50 ms, median {taken[500] * 1e3:.2f} ms, ", end="")
    print(f"longest {taken[-1] * 1e3:.1f} ms (the standard library: never)")
    return [*missed, "recovery"] if late else missed


def measure_group(title: str, measures: dict[str, Any], libraries: list[Any], words: str, rounds: int) -> list[str]:
    """Measure what some libraries do, in turn; return the names of what misses its goal, or is not the fastest."""
    chosen = {name: entry for name, entry in measures.items() if words in name or words in title}
    if chosen:
        print(f"\n{title}, against the standard library")
    missed = []
    for name, (measure, goal, *takers) in chosen.items():
        contenders: dict[str, Contender] = {
            (BASE if library.name == "multiprocessing" else library.name): functools.partial(measure, library)
            for library in libraries
            if not takers or library.name in takers[0]
        }
        times = take_turns(contenders, rounds)
        ratios = {who: median_ratio(values, times[BASE]) for who, values in times.items()}
        reached = ratios["polyproc"] <= goal and ratios["polyproc"] == min(ratios.values())
        print(f"  {name:<36} goal {goal:.2f}   {'reached' if reached else 'MISSED'}")
        for who, ratio in ratios.items():
            print(f"    {who:<34} {ratio:8.3f}   ({statistics.median(times[who]) * 1e6:10.2f} us)", flush=True)
        if not reached:
            missed.append(name)
    return missed


def found(kind: Callable[[str], Any], *names: str) -> list[Any]:
    """Return the libraries that are installed."""
    libraries = []
    for name in names:
        try:
            libraries.append(kind(name))
        except ImportError:
            print(f"  ({name} is not installed)", file=sys.stderr)
    return libraries


def main() -> int:
    """Run everything."""
    parser = argparse.ArgumentParser(description="what starting a process costs")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", default="", help="cases whose name has this word")
    options = parser.parse_args()
    for variable in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(variable, None)
    print(f"Python {sys.version.split()[0]}, {len(os.sched_getaffinity(0))} processors, {options.rounds} rounds")
    n = options.rounds
    ours = {BASE: "multiprocessing", "polyproc": "polyproc"}
    peers = {**ours, "multiprocess": "multiprocess"}
    floor = {"floor: os.fork and _exit": "floor"}
    fork = {**peers, "billiard": "billiard", **floor}
    spare = {BASE: "multiprocessing", "polyproc": "polyproc:spare"}
    cases: dict[str, Callable[[], bool]] = {
        "import": lambda: measure_import(n),
        "fork": lambda: measure_start("fork", "fork", fork, n * 3),
        "spawn": lambda: measure_start("spawn", "spawn", {**peers, "billiard": "billiard", "loky": "loky"}, n),
        "spawn, spare": lambda: measure_start("spawn, spare", "spawn", spare, n),
        "forkserver": lambda: measure_start("forkserver", "forkserver", {**peers, **floor}, n * 2),
        "forkserver, 1 GiB": lambda: measure_start("forkserver, 1 GiB", "forkserver", {**ours, **floor}, n, 1024),
    }
    missed = [name for name, run in cases.items() if options.only in name and not run()]
    missed += measure_sharing(options.only, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the standard library's queues have threads when the next partner is forked
        peers_of_queues = found(messages.Library, "polyproc", "multiprocessing", "multiprocess", "faster_fifo")
        missed += measure_group("messages", messages.MEASURES, peers_of_queues, options.only, max(n // 3, 3))
        peers_of_pools = found(pools.Library, "polyproc", "multiprocessing", *pools.PEERS)
        missed += measure_group("pools", pools.MEASURES, peers_of_pools, options.only, max(n // 4, 3))
        peers_of_managers = found(managers.Library, "polyproc", "multiprocessing", "multiprocess")
        missed += measure_group("managers", managers.MEASURES, peers_of_managers, options.only, max(n // 4, 3))
    missed += cold.measure(options.only, max(n // 3, 3))
    missed += placement.measure(options.only, max(n // 6, 3))
    missed += bursts.measure(options.only, max(n // 10, 3))
    print("\n" + (f"missed: {'; '.join(missed)}" if missed else "every goal was reached"))
    return 0
