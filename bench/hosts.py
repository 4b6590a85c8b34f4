"""What processes, queues and pools on hosts cost, beside what they cost here and what Ray's own ways cost, in one run.

    python bench/hosts.py                      the engine `command`, on this machine
    PYTHON_WITH_RAY bench/hosts.py             and Ray's, where it is installed

Each measure is taken turn by turn; quoted are medians of ratios. It ends with 1 if a goal is missed.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import polyproc

ROUNDS = 7
TURNS = 500
TASKS = 10_000
LARGE, LARGE_ITEMS = 16 << 20, 4


def nothing() -> None:
    """Do nothing."""


def square(number: int) -> int:
    """Do little."""
    return number * number


def turns(queue: Any) -> float:
    """Put and get in a process that did not make the queue; return seconds for one of each."""
    queue.put(1)
    queue.get()
    begin = time.perf_counter()
    for _ in range(TURNS):
        queue.put(1)
        queue.get()
    return (time.perf_counter() - begin) / TURNS


def turns_elsewhere(queue: Any) -> float:
    """Do the same as a process on another host: the queue is served by who made it."""
    queue._may_be_here = False
    return turns(queue)


def timed(act: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def start_and_join(context: Any) -> Callable[[], float]:
    """Return what starts a process and joins it."""

    def run() -> None:
        process = context.Process(target=nothing)
        process.start()
        process.join()

    return lambda: timed(run)


def in_a_process(context: Any, target: Callable[[Any], float] = turns) -> Callable[[], float]:
    """Return what puts and gets in a process of a context."""

    def run() -> float:
        process = context.Process(target=target, args=(context.Queue(),))
        process.start()
        found: float = process.result()
        return found

    return run


def ratio(what: str, goal: float | None, ours: Callable[[], float], other: Callable[[], float], than: str) -> bool:
    """Print how much ours takes of what another takes; return whether that is at most the goal, if there is one."""
    import statistics  # not what each process would import with this module

    ours(), other()
    pairs = [(ours(), other()) for _ in range(ROUNDS)]
    found = statistics.median(mine / theirs for mine, theirs in pairs)
    mine, theirs = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
    is_reached = goal is None or found <= goal
    mark = "" if goal is None else "   reached" if is_reached else "   MISSED"
    aim = "" if goal is None else f"(goal {goal:g})"
    print(f"  {what:<40} {found:8.4f}  {aim:<12}  {mine:9.3f} ms, {than} {theirs:9.3f} ms{mark}", flush=True)
    return is_reached


def plain_pickle() -> float:
    """Send a large object as one pickle over a loopback connection, and open it; return the seconds."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sending = socket.create_connection(listening.getsockname())
        receiving, _ = listening.accept()
    large = Large(bytearray(LARGE))

    def send() -> None:
        sending.sendall(pickle.dumps(large, 5))
        sending.shutdown(socket.SHUT_WR)

    def run() -> None:
        thread = threading.Thread(target=send)
        thread.start()
        with receiving.makefile("rb") as file:
            pickle.load(file)
        thread.join()

    with sending, receiving:
        return timed(run)


def against_this_host() -> bool:
    """Compare with processes of this host."""
    print("the engine `command`, on this machine, against processes beside this one")
    local = polyproc.get_context("forkserver")
    remote: Any = polyproc.get_context("command")
    with remote as context:
        reached = ratio("Process, start and join", 10, start_and_join(context), start_and_join(local), "forkserver")
        reached &= ratio("Queue, put and get", 30, in_a_process(context), in_a_process(local), "forkserver")
        name = f"Queue, {LARGE >> 20} MiB, served by who made it"
        reached &= ratio(name, 1, large_by_queue(context), plain_pickle, "a pickle by TCP")
    return reached


class Large:
    """What has a buffer of its own, as an array."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Large, (pickle.PickleBuffer(self.data),)


def get_large(queue: Any) -> float:
    """Get what is there; return the seconds for each."""
    queue._may_be_here = False
    return timed(lambda: [queue.get() for _ in range(LARGE_ITEMS)]) / LARGE_ITEMS


def length(large: Any) -> int:
    """Return how long a large argument is."""
    return len(memoryview(large.data))


def large_by_queue(context: Any) -> Callable[[], float]:
    """Return what has a process, as if elsewhere, get large items."""

    def run() -> float:
        made = context.Queue()
        for _ in range(LARGE_ITEMS):
            made.put(Large(bytearray(LARGE)))
        process = context.Process(target=get_large, args=(made,))
        process.start()
        found: float = process.result()
        return found

    return run


class Actor:
    """What Ray makes an actor of."""

    def ping(self) -> None:
        """Be there."""


def against_ray() -> bool:
    """Compare with Ray's own actors, queues and pools."""
    try:
        ray: Any = import_module("ray")
        RayPool: Any = import_module("ray.util.multiprocessing").Pool
        RayQueue: Any = import_module("ray.util.queue").Queue
    except ImportError as error:
        print(f"NOT MEASURED, Ray: {error}; pip install 'polyproc[ray]'")
        return True
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print("the engine `ray`, against Ray's own ways")

    actor, turns_there = ray.remote(num_cpus=0)(Actor), ray.remote(num_cpus=0)(turns)
    queue = RayQueue()
    try:
        remote: Any = polyproc.get_context("ray")
        with remote as context:
            reached = ratio(
                "Process, start and join",
                1,
                start_and_join(context),
                lambda: timed(lambda: ray.get(actor.remote().ping.remote())),
                "an actor",
            )
            there = lambda: float(ray.get(turns_there.remote(queue)))  # noqa: E731
            reached &= ratio("Queue, put and get", 1 / 20, in_a_process(context), there, "its Queue")
            elsewhere = in_a_process(context, turns_elsewhere)
            reached &= ratio("Queue, served by who made it", 1 / 20, elsewhere, there, "its Queue")
            with context.Pool(2) as ours, RayPool(2) as theirs:
                reached &= ratio(
                    f"Pool.map of {TASKS:,} tasks",
                    1,
                    lambda: timed(lambda: ours.map(square, range(TASKS))),
                    lambda: timed(lambda: theirs.map(square, range(TASKS))),
                    "its Pool",
                )
                large = Large(bytearray(LARGE))
                task = ray.remote(num_cpus=0)(length)
                reached &= ratio(
                    f"a call with {LARGE >> 20} MiB",
                    2,  # both by memory of this one host
                    lambda: timed(lambda: ours.apply(length, (large,))),
                    lambda: timed(lambda: ray.get(task.remote(ray.put(large)))),
                    "its object store",
                )
                ours.terminate()
                ours.join()
    finally:
        ray.shutdown()
    return reached


if __name__ == "__main__":
    sys.exit(0 if against_this_host() & against_ray() else 1)
