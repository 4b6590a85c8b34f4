"""What a hand-over costs by where the kernel puts the two processes, against the standard library and two floors.

    python bench/placement.py [--rounds N] [--only WORDS]

Four places: left to the kernel; both on one processor; each on its own; and beside two busy loops, on two processors.
Each measure is run in a process of its own, which makes its partner by fork and takes turns with it; quoted are the
microseconds there and back, and the median of the rounds' ratios to the standard library and to the floor: an os.pipe
there and back between two processes in the same place. A second floor, each on its own processor: a shared word that
both look at without sleeping.
"""

from __future__ import annotations

import argparse
import mmap
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

LIBRARIES = ("multiprocessing", "polyproc")
PLACES = {
    "kernel": "left to the kernel",
    "one": "both on one processor",
    "apart": "each on its own",
    "busy": "beside two busy loops",
}
WARM = 100
MORE = 1  # turns that are not timed, so that the partner's end is not
TURNS = {"kernel": 500, "one": 500, "apart": 500, "busy": 200}


class Place:
    """On which processors the two sides run."""

    def __init__(self, name: str) -> None:
        self.name = name
        processors = sorted(os.sched_getaffinity(0))
        first, second = {processors[0]}, {processors[-1]}
        if name == "one":
            self._here = self._there = first
        elif name == "apart":
            self._here, self._there = first, second
        elif name == "busy":
            self._here = self._there = first | second
        else:
            self._here = self._there = set(processors)

    def here(self) -> None:
        """Stay on this side's processors."""
        os.sched_setaffinity(0, self._here)

    def there(self) -> None:
        """Stay on the partner's."""
        os.sched_setaffinity(0, self._there)


@dataclass
class Pair:
    """This process, and the partner that it makes."""

    library: str
    place: Place
    turns: int

    @property
    def context(self) -> Any:
        """The library's context."""
        return import_module(self.library).get_context("fork")

    def take_turns(self, ask: Callable[[], object], answer: Callable[[], object]) -> float:
        """Return the seconds of one `ask`; a partner runs `answer` as often."""
        process = self.context.Process(target=self._answer, args=(answer,))
        process.start()
        self.place.here()
        taken = self._time(ask)
        process.join()
        return taken

    def alone(self, ask: Callable[[], object]) -> float:
        """The same, where the library brings the partner."""
        self.place.here()
        return self._time(ask)

    def _answer(self, answer: Callable[[], object]) -> None:
        self.place.there()
        for _ in range(WARM + self.turns + MORE):
            answer()

    def _time(self, ask: Callable[[], object]) -> float:
        for _ in range(WARM):
            ask()
        begin = time.perf_counter()
        for _ in range(self.turns):
            ask()
        taken = time.perf_counter() - begin
        for _ in range(MORE):
            ask()
        return taken / self.turns


def floor(pair: Pair) -> float:
    """A byte through an os.pipe, and one back."""
    there, back = os.pipe(), os.pipe()

    def ask() -> None:
        os.write(there[1], b"x")
        os.read(back[0], 1)

    def answer() -> None:
        os.read(there[0], 1)
        os.write(back[1], b"x")

    return pair.take_turns(ask, answer)


def word(pair: Pair) -> float:
    """A number in shared memory: each side looks until it is the next."""
    shared = mmap.mmap(-1, mmap.PAGESIZE)

    def ask() -> None:
        shared[0] = 1
        while shared[0]:
            pass

    def answer() -> None:
        while not shared[0]:
            pass
        shared[0] = 0

    return pair.take_turns(ask, answer)


def pipe(pair: Pair) -> float:
    here, there = pair.context.Pipe()

    def ask() -> None:
        here.send(1)
        here.recv()

    return pair.take_turns(ask, lambda: there.send(there.recv()))


def _queues(pair: Pair, requests: Any, answers: Any) -> float:
    def ask() -> None:
        requests.put(1)
        answers.get()

    return pair.take_turns(ask, lambda: answers.put(requests.get()))


def queue(pair: Pair) -> float:
    return _queues(pair, pair.context.Queue(), pair.context.Queue())


def simple_queue(pair: Pair) -> float:
    return _queues(pair, pair.context.SimpleQueue(), pair.context.SimpleQueue())


def event(pair: Pair) -> float:
    ping, pong = pair.context.Event(), pair.context.Event()

    def ask() -> None:
        ping.set()
        pong.wait()
        pong.clear()

    def answer() -> None:
        ping.wait()
        ping.clear()
        pong.set()

    return pair.take_turns(ask, answer)


def condition(pair: Pair) -> float:
    shared, turn = pair.context.Condition(), pair.context.RawValue("i", 0)

    def take(mine: int) -> None:
        with shared:
            while turn.value != mine:
                shared.wait()
            turn.value = 1 - mine
            shared.notify()

    return pair.take_turns(lambda: take(0), lambda: take(1))


def semaphore(pair: Pair) -> float:
    ping, pong = pair.context.Semaphore(0), pair.context.Semaphore(0)

    def ask() -> None:
        ping.release()
        pong.acquire()

    def answer() -> None:
        ping.acquire()
        pong.release()

    return pair.take_turns(ask, answer)


def barrier(pair: Pair) -> float:
    """One meeting: each waits for the other."""
    shared = pair.context.Barrier(2)
    return pair.take_turns(shared.wait, shared.wait)


def _same(value: int) -> int:
    return value


def apply(pair: Pair) -> float:
    pair.place.here()
    with pair.context.Pool(1, pair.place.there) as pool:
        return pair.alone(lambda: pool.apply(_same, (1,)))


def manager(pair: Pair) -> float:
    """Set an item of a dictionary."""
    module = import_module(f"{pair.library}.managers")
    served = module.SyncManager(ctx=pair.context)
    served.start(pair.place.there)
    with served:
        shared = served.dict()
        return pair.alone(lambda: shared.__setitem__(1, 1))


@dataclass
class Goals:
    """At most so much of the floor: on one processor, and each on its own. 0 for none."""

    one: float
    apart: float


# What is measured, and its goals; against the standard library 0.9 in each place, a semaphore 1.05 on one processor.
MEASURES: dict[str, tuple[Callable[[Pair], float], Goals]] = {
    "Pipe": (pipe, Goals(1.4, 0.5)),
    "Queue": (queue, Goals(1.4, 0.25)),
    "SimpleQueue": (simple_queue, Goals(1.4, 0.25)),
    "Event": (event, Goals(1.4, 0.25)),
    "Condition": (condition, Goals(1.6, 0.25)),
    "Semaphore": (semaphore, Goals(1.4, 0.25)),
    "Barrier": (barrier, Goals(1.6, 0.25)),
    "Pool.apply": (apply, Goals(4.0, 1.2)),
    "a manager's dict": (manager, Goals(2.0, 1.2)),
}
FLOORS: dict[str, Callable[[Pair], float]] = {"floor": floor, "word": word}


@dataclass
class Times:
    """What the rounds took: of both libraries, and of the floor."""

    floor: list[float] = field(default_factory=list)
    of: dict[str, list[float]] = field(default_factory=lambda: {library: [] for library in LIBRARIES})

    def ratio(self, base: list[float]) -> float:
        """Return the median of our ratios to another's."""
        return statistics.median(ours / other for ours, other in zip(self.of["polyproc"], base, strict=True))


def _run(name: str, library: str, place: str) -> float:
    """Run one measure in a process of its own."""
    line = [sys.executable, str(Path(__file__)), "--measure", name, library, place]
    return float(subprocess.run(line, stdout=subprocess.PIPE, check=True, text=True, timeout=300).stdout)


def _round(names: list[str], place: str, first: int, times: dict[str, Times]) -> None:
    below = _run("floor", "multiprocessing", place)
    for name in names:
        times[name].floor.append(below)
        for library in LIBRARIES if first % 2 else reversed(LIBRARIES):
            times[name].of[library].append(_run(name, library, place))


def _show(place: str, name: str, times: Times) -> bool:
    """Print a line; return whether it reaches its goals."""
    goals = MEASURES[name][1]
    most = 1.05 if (name, place) == ("Semaphore", "one") else 0.9
    of_floor = {"one": goals.one, "apart": goals.apart}.get(place, 0.0)
    ratio, below = times.ratio(times.of["multiprocessing"]), times.ratio(times.floor)
    reached = ratio <= most and (not of_floor or below <= of_floor)
    ours, theirs = (statistics.median(times.of[library]) * 1e6 for library in reversed(LIBRARIES))
    quoted = f"{of_floor:.2f}" if of_floor else "    "
    mark = "reached" if reached else "MISSED"
    line = f"{ratio:6.3f}  {most:.2f}   {below:6.2f}  {quoted}  {ours:8.1f} {theirs:8.1f} us"
    print(f"  {name:<18} {line}   {mark}", flush=True)
    return reached


def measure(words: str, rounds: int) -> list[str]:
    """Measure what has these words, in each place; return what misses its goal."""
    names = [name for name in MEASURES if words in name or words in "placement"]
    if not names:
        return []
    if len(os.sched_getaffinity(0)) == 1:
        print("\n(placement: there is one processor, which is one place)", file=sys.stderr)
        return []
    missed = []
    for place, title in PLACES.items():
        times = {name: Times() for name in names}
        loops = [subprocess.Popen([sys.executable, __file__, "--loop"]) for _ in range(2 if place == "busy" else 0)]
        try:
            for number in range(rounds):
                _round(names, place, number, times)
        finally:
            for loop in loops:
                loop.kill()
                loop.wait()
        bottom = statistics.median(times[names[0]].floor) * 1e6
        note = f"a pipe {bottom:.1f} us"
        if place == "apart":
            note += f", a word that both look at {_run('word', 'multiprocessing', place) * 1e6:.1f} us"
        print(f"\n{title:<21} ratio  goal    floor  goal      ours   theirs       ({note})")
        missed += [f"{name}, {title}" for name in names if not _show(place, name, times[name])]
    return missed


def _loop() -> None:
    Place("busy").here()
    while os.getppid() != 1:
        for _ in range(1_000_000):
            pass


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="what a hand-over costs in four places")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="what has these words in its name")
    parser.add_argument("--measure", nargs=3, metavar=("NAME", "LIBRARY", "PLACE"), help=argparse.SUPPRESS)
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        _loop()
    elif options.measure:
        warnings.simplefilter("ignore")  # the standard library's queues have threads when the partner is forked
        name, library, place = options.measure
        act = FLOORS.get(name) or MEASURES[name][0]
        print(act(Pair(library, Place(place), TURNS[place])))
    else:
        print(f"Python {sys.version.split()[0]}, {len(os.sched_getaffinity(0))} processors, {options.rounds} rounds")
        missed = measure(options.only, options.rounds)
        print("\n" + (f"missed: {'; '.join(missed)}" if missed else "every goal was reached"))


if __name__ == "__main__":
    main()
