"""What a program feels first: whole scripts as processes of their own, against the standard library, in turns.

    python bench/cold.py [--rounds N] [--only WORDS]

Each script is run from its file, as a user runs it, by each start method. Wall time ends when the script's process has
ended; processor time is that of all its processes, those that outlive it included. Figures that a script takes itself
are lines of their own: a pool's first result, the start and end of an empty one, a second pool, the modules loaded.
Quoted is the median of the rounds' ratios; lower is better.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

METHODS = ("fork", "spawn", "forkserver")
LIBRARIES = ("multiprocessing", "polyproc")
PR_SET_CHILD_SUBREAPER = 36

HEAD = """
import json, sys, time
import {library} as library
{imports}

def nothing(*values):
    pass

def same(value):
    return value

def loaded(value):
    return len(sys.modules)

{more}

if __name__ == "__main__":
    context = library.get_context("{method}")
    figures = {{}}
"""
TAIL = """
    figures["modules of the parent"] = len(sys.modules)
    print(json.dumps(figures))
"""
PROCESS = """
for _ in range(2):
    process = context.Process(target=nothing)
    process.start()
    process.join()
"""
LOCKS = """
lock, value, event = context.Lock(), context.Value("i", 0), context.Event()
processes = [context.Process(target=add, args=(lock, value, event)) for _ in range(2)]
for process in processes:
    process.start()
event.set()
for process in processes:
    process.join()
assert value.value == 20
"""
ADD = """
def add(lock, value, event):
    event.wait()
    for _ in range(10):
        with lock:
            value.value += 1
"""
QUEUE = """
requests, answers = context.Queue(), context.Queue()
process = context.Process(target=answer, args=(requests, answers))
process.start()
for number in range(100):
    requests.put((number, "item"))
requests.put(None)
assert sum(answers.get()[0] for _ in range(100)) == 4950
process.join()
"""
ANSWER = """
def answer(requests, answers):
    for item in iter(requests.get, None):
        answers.put(item)
"""
POOL = """
with context.Pool(2) as pool:
    assert pool.map(same, range(100)) == list(range(100))
    figures["modules of a worker"] = pool.apply(loaded, (0,))
"""
EXECUTOR = """
with ProcessPoolExecutor(2, mp_context=context) as executor:
    assert list(executor.map(same, range(100), chunksize=10)) == list(range(100))
"""
MANAGER = """
with context.Manager() as manager:
    shared = manager.dict()
    process = context.Process(target=fill, args=(shared,))
    process.start()
    process.join()
    assert len(shared) == 10
"""
FILL = """
def fill(shared):
    for number in range(10):
        shared[number] = number
"""
FIRST = """
begin = time.perf_counter()
pool = context.Pool(2)
pool.apply(nothing)
figures["first result"] = time.perf_counter() - begin
pool.close()
pool.join()
"""
EMPTY = """
for _ in range(4):
    begin = time.perf_counter()
    pool = context.Pool(2)
    pool.close()
    pool.join()
    figures["empty pool"] = time.perf_counter() - begin
"""
SECOND = """
for _ in range(2):
    begin = time.perf_counter()
    pool = context.Pool(2)
    pool.apply(nothing)
    pool.close()
    pool.join()
    figures["second pool"] = time.perf_counter() - begin
"""


@dataclass
class Case:
    """A script, and its goals by fork, spawn and fork server: of its wall time, or of the figure that it takes."""

    body: str
    goals: tuple[float, float, float]
    more: str = ""
    figure: str | None = None


CASES = {
    "Process": Case(PROCESS, (0.9, 0.65, 0.7)),
    "locks and Value": Case(LOCKS, (0.9, 0.75, 0.75), ADD),
    "Queue": Case(QUEUE, (0.9, 0.8, 0.8), ANSWER),
    "Pool": Case(POOL, (0.95, 0.75, 0.75)),
    "executor": Case(EXECUTOR, (0.95, 0.75, 0.75)),
    "Manager": Case(MANAGER, (0.9, 0.85, 0.8), FILL),
    "first result": Case(FIRST, (1.0, 0.75, 0.3), figure="first result"),
    "empty pool": Case(EMPTY, (0.5, 0.5, 0.5), figure="empty pool"),
    "second pool": Case(SECOND, (0.5, 0.2, 0.2), figure="second pool"),
}


@dataclass
class Runs:
    """What the runs of one script with one library took."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, wall: float, cpu: float, figures: dict[str, float]) -> None:
        """Note one run."""
        self.wall.append(wall)
        self.cpu.append(cpu)
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)


def text_of(case: Case, library: str, method: str) -> str:
    """Return a script."""
    module = "polyproc" if library == "polyproc" else "concurrent.futures"
    imports = f"from {module} import ProcessPoolExecutor" if "Executor" in case.body else ""
    body = case.body.strip().replace("\n", "\n    ")
    return HEAD.format(library=library, method=method, imports=imports, more=case.more) + "    " + body + TAIL


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _await_orphans() -> None:
    """Wait for what outlived a script: it is this process's now."""
    with suppress(ChildProcessError):
        while True:
            os.wait()


def run(path: Path) -> tuple[float, float, dict[str, float]]:
    """Run a script; return its wall time, the processor time of all its processes, and what it says."""
    _await_orphans()
    spent = _spent()
    with tempfile.TemporaryFile() as output:  # and no pipe, which processes that outlive the script would hold open
        begin = time.perf_counter()
        process = subprocess.Popen([sys.executable, str(path)], stdin=subprocess.DEVNULL, stdout=output)
        status = process.wait()  # with a limit, it would look every 50 ms
        wall = time.perf_counter() - begin
        output.seek(0)
        text = output.read()
    _await_orphans()
    if status:
        raise RuntimeError(f"{path.name} ended with {status}")
    return wall, _spent() - spent, json.loads(text)


def _ratio(mine: list[float], theirs: list[float]) -> float:
    return statistics.median(value / other for value, other in zip(mine, theirs, strict=True))


def _lines(case: Case, method: str, runs: dict[str, Runs]) -> Iterator[tuple[str, list[float], list[float], float]]:
    """Give what is printed of a case: its name, the values of both, its goal (0 for none)."""
    theirs, ours = (runs[library] for library in LIBRARIES)
    goal = case.goals[METHODS.index(method)]
    if case.figure is not None:
        yield "", ours.figures[case.figure], theirs.figures[case.figure], goal
        return
    yield "", ours.wall, theirs.wall, goal
    yield "processor time", ours.cpu, theirs.cpu, 0.0
    for figure, values in ours.figures.items():
        yield figure, values, theirs.figures[figure], 0.0


def measure(words: str, rounds: int) -> list[str]:
    """Measure the scripts whose name or start method has these words; return the names of what misses its goal."""
    chosen = [(name, method) for name in CASES for method in METHODS if words in f"{name}, {method}" or words in "cold"]
    if not chosen:
        return []
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1):
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER) was refused")
    for variable in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(variable, None)
    missed = []
    print("\ncold: whole programs" + 20 * " " + "ratio  goal         ours      theirs")
    with tempfile.TemporaryDirectory() as folder:
        for name, method in chosen:
            case = CASES[name]
            runs = {library: Runs() for library in LIBRARIES}
            paths = {library: Path(folder, f"{library}_program.py") for library in LIBRARIES}
            for library, path in paths.items():
                path.write_text(text_of(case, library, method))
                run(path)  # its byte code is there now
            for number in range(rounds):
                for library in LIBRARIES if number % 2 else reversed(LIBRARIES):
                    runs[library].add(*run(paths[library]))
            for figure, ours, theirs, goal in _lines(case, method, runs):
                ratio, counted = _ratio(ours, theirs), "modules" in figure
                mine, other = (statistics.median(values) * (1 if counted else 1000) for values in (ours, theirs))
                mark = "" if not goal else "   reached" if ratio <= goal else "   MISSED"
                title = f"    {figure}" if figure else f"  {name}, {method}"
                unit = "  " if counted else "ms"
                quoted = f"{goal:.2f}" if goal else "    "
                print(f"{title:<36} {ratio:8.3f}  {quoted}  {mine:8.2f} {unit} {other:8.2f} {unit}{mark}", flush=True)
                if goal and ratio > goal:
                    missed.append(f"{name}, {method}")
    return missed


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="what whole programs take")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="the scripts whose name and start method have these words")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {len(os.sched_getaffinity(0))} processors, {options.rounds} rounds")
    missed = measure(options.only, options.rounds)
    print("\n" + (f"missed: {'; '.join(missed)}" if missed else "every goal was reached"))


if __name__ == "__main__":
    main()
