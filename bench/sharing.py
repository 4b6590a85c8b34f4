"""What shared objects cost: each measure is a function of a context that returns seconds for one operation.

The two libraries take turns in one process, and their partners are forked from it. Hand-overs go back and forth between
two processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

Measure = Callable[[Any], float]

TIMES = 20_000
HANDOVERS = 2_000


def _timed(act: Callable[[], object], times: int) -> float:
    begin = time.perf_counter()
    act()
    return (time.perf_counter() - begin) / times


def lock_pair(context: Any) -> float:
    lock = context.Lock()

    def act() -> None:
        for _ in range(TIMES):
            lock.acquire()
            lock.release()

    return _timed(act, TIMES)


def with_lock(context: Any) -> float:
    lock = context.Lock()

    def act() -> None:
        for _ in range(TIMES):
            with lock:
                pass

    return _timed(act, TIMES)


def rlock_nested(context: Any) -> float:
    lock = context.RLock()

    def act() -> None:
        for _ in range(TIMES):
            lock.acquire()
            lock.release()

    with lock:
        return _timed(act, TIMES)


def _hammer(lock: Any, times: int) -> None:
    for _ in range(times):
        lock.acquire()
        lock.release()


def contended(context: Any) -> float:
    lock = context.Lock()
    process = context.Process(target=_hammer, args=(lock, 10 * TIMES))
    lock.acquire()
    process.start()
    time.sleep(0.01)
    begin = time.perf_counter()
    lock.release()
    _hammer(lock, 10 * TIMES)
    process.join()
    return (time.perf_counter() - begin) / (20 * TIMES)


def _answer_event(ping: Any, pong: Any, times: int) -> None:
    for _ in range(times):
        ping.wait()
        ping.clear()
        pong.set()


def event_handover(context: Any) -> float:
    ping, pong = context.Event(), context.Event()
    process = context.Process(target=_answer_event, args=(ping, pong, HANDOVERS))
    process.start()

    def act() -> None:
        for _ in range(HANDOVERS):
            ping.set()
            pong.wait()
            pong.clear()

    cost = _timed(act, 2 * HANDOVERS)
    process.join()
    return cost


def _take_turns(condition: Any, turn: Any, mine: int, times: int) -> None:
    for _ in range(times):
        with condition:
            while turn.value != mine:
                condition.wait()
            turn.value = 1 - mine
            condition.notify()


def condition_handover(context: Any) -> float:
    condition, turn = context.Condition(), context.RawValue("i", 0)
    process = context.Process(target=_take_turns, args=(condition, turn, 1, HANDOVERS))
    process.start()
    cost = _timed(lambda: _take_turns(condition, turn, 0, HANDOVERS), 2 * HANDOVERS)
    process.join()
    return cost


def _pass(barrier: Any, times: int) -> None:
    for _ in range(times):
        barrier.wait()


def barrier_handover(context: Any) -> float:
    barrier = context.Barrier(2)
    process = context.Process(target=_pass, args=(barrier, HANDOVERS))
    process.start()
    barrier_times = HANDOVERS
    cost = _timed(lambda: _pass(barrier, barrier_times), HANDOVERS)
    process.join()
    return cost


def creation(context: Any) -> float:
    return _timed(lambda: [context.Lock() for _ in range(500)], 500)


def value_increment(context: Any) -> float:
    value = context.Value("i", 0)

    def act() -> None:
        for _ in range(TIMES):
            with value.get_lock():
                value.value += 1

    return _timed(act, TIMES)


def array_item(context: Any) -> float:
    array = context.Array("d", 10)

    def act() -> None:
        for _ in range(TIMES):
            array[3] = 1.0
            array[3]

    return _timed(act, TIMES)


def _segments(context: Any) -> Any:
    if context.__class__.__module__.startswith("polyproc"):
        from polyproc import shared_memory
    else:
        from multiprocessing import shared_memory  # type: ignore[no-redef]
    return shared_memory.SharedMemory


def segment_create(context: Any) -> float:
    cls = _segments(context)
    cls(create=True, size=4096).unlink()  # the tracker runs
    made: list[Any] = []
    cost = _timed(lambda: made.extend(cls(create=True, size=4096) for _ in range(100)), 100)
    for segment in made:
        segment.close()
        segment.unlink()
    return cost


def segment_attach(context: Any) -> float:
    cls = _segments(context)
    segment = cls(create=True, size=4096)
    name = segment.name

    def act() -> None:
        for _ in range(100):
            cls(name).close()

    cost = _timed(act, 100)
    segment.close()
    segment.unlink()
    return cost


MEASURES: dict[str, tuple[Measure, float]] = {
    "Lock, acquire and release": (lock_pair, 0.5),
    "with lock": (with_lock, 0.35),
    "RLock, nested": (rlock_nested, 0.55),
    "Lock, two contend": (contended, 0.7),
    "Event, hand-over": (event_handover, 0.35),
    "Condition, hand-over": (condition_handover, 0.35),
    "Barrier, hand-over": (barrier_handover, 0.35),
    "Lock, creation": (creation, 0.05),
    "Value += 1 under its lock": (value_increment, 0.3),
    "Array item, write and read": (array_item, 0.15),
    "SharedMemory, create": (segment_create, 0.5),
    "SharedMemory, attach": (segment_attach, 0.4),
}


def _hold(lock: Any, told: Any) -> None:
    lock.acquire()
    told.set()
    time.sleep(60)


def recoveries(context: Any, times: int) -> list[float]:
    """Return, for each kill of a lock's holder, the seconds until a waiter has the lock."""
    taken = []
    lock, told = context.Lock(), context.Event()
    for _ in range(times):
        told.clear()
        process = context.Process(target=_hold, args=(lock, told))
        process.start()
        told.wait()
        begin = time.perf_counter()
        os.kill(process.pid, 9)
        lock.acquire()
        taken.append(time.perf_counter() - begin)
        lock.release()
        process.join()
    return taken
