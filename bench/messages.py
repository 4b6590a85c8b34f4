"""What messages cost: each measure is a function of a library that returns seconds for one message.

The libraries take turns in one process, and their partners are forked from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

Measure = Callable[["Library"], float]

MESSAGES = 20_000
TURNS = 2_000
LARGE_TURNS = 8
MEETINGS = 20
SMALL_BYTES = b"x" * 64
SMALL_TUPLE = (1, "message", 2.5)


class Library:
    """A library under its name; what it does not have is missing from its measures."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.module: Any = import_module("multiprocessing" if name == "faster_fifo" else name)
        self.context = self.module.get_context("fork")

    def queue(self) -> Any:
        """Make a queue without a limit on the number of items."""
        if self.name == "faster_fifo":
            return import_module("faster_fifo").Queue(max_size_bytes=32 << 20)
        return self.context.Queue()

    def start(self, target: Callable[..., object], *args: Any) -> Any:
        """Start a partner."""
        process = self.context.Process(target=target, args=args)
        process.start()
        return process


def _get(queue: Any) -> Any:
    return queue.get(timeout=60.0)


def _produce(queue: Any, item: Any, times: int, go: Any) -> None:
    go.recv()
    for _ in range(times):
        queue.put(item)


def _consume(queue: Any, times: int, told: Any) -> None:
    for _ in range(times):
        _get(queue)
    told.send(None)


def _stream(library: Library, item: Any, producers: int, consumers: int) -> float:
    queue = library.queue()
    gates = [library.context.Pipe() for _ in range(producers)]
    told, tells = library.context.Pipe()
    times = MESSAGES // producers
    processes = [library.start(_produce, queue, item, times, there) for _, there in gates]
    processes += [library.start(_consume, queue, producers * times // consumers, tells) for _ in range(consumers - 1)]
    time.sleep(0.02)
    begin = time.perf_counter()
    for here, _ in gates:
        here.send(None)
    for _ in range(producers * times // consumers):
        _get(queue)
    for _ in range(consumers - 1):
        told.recv()
    taken = time.perf_counter() - begin
    for process in processes:
        process.join()
    return taken / (times * producers)


def queue_bytes(library: Library) -> float:
    return _stream(library, SMALL_BYTES, 1, 1)


def queue_tuple(library: Library) -> float:
    return _stream(library, SMALL_TUPLE, 1, 1)


def queue_two_to_two(library: Library) -> float:
    return _stream(library, SMALL_TUPLE, 2, 2)


def _answer_queue(requests: Any, answers: Any, times: int) -> None:
    for _ in range(times):
        answers.put(_get(requests))


def queue_ping_pong(library: Library) -> float:
    requests, answers = library.queue(), library.queue()
    process = library.start(_answer_queue, requests, answers, TURNS)
    time.sleep(0.02)
    begin = time.perf_counter()
    for _ in range(TURNS):
        requests.put(SMALL_TUPLE)
        _get(answers)
    taken = time.perf_counter() - begin
    process.join()
    return taken / TURNS


def _answer_pipe(connection: Any, times: int) -> None:
    for _ in range(times):
        connection.send(connection.recv())


def pipe_ping_pong(library: Library) -> float:
    here, there = library.context.Pipe()
    process = library.start(_answer_pipe, there, TURNS)
    time.sleep(0.02)
    begin = time.perf_counter()
    for _ in range(TURNS):
        here.send(SMALL_TUPLE)
        here.recv()
    taken = time.perf_counter() - begin
    process.join()
    return taken / TURNS


def _weigh(queue: Any, answers: Any, times: int) -> None:
    for _ in range(times):
        answers.put(_get(queue).nbytes)


def queue_array(library: Library) -> float:
    array = import_module("numpy").arange(2 << 20, dtype="f8")  # 16 MiB
    queue, answers = library.queue(), library.queue()
    process = library.start(_weigh, queue, answers, LARGE_TURNS)
    queue.put(array)
    _get(answers)
    begin = time.perf_counter()
    for _ in range(LARGE_TURNS - 1):
        queue.put(array)
        _get(answers)
    taken = time.perf_counter() - begin
    process.join()
    return taken / (LARGE_TURNS - 1)


def _meet(module: Any, address: Any, times: int) -> None:
    for _ in range(times):
        with module.Client(address, authkey=b"key") as connection:
            connection.send(SMALL_TUPLE)
            connection.recv()


def meeting(library: Library) -> float:
    module = import_module(f"{library.module.__name__}.connection")
    with module.Listener(("127.0.0.1", 0), authkey=b"key") as listener:
        process = library.start(_meet, module, listener.address, MEETINGS)
        begin = time.perf_counter()
        for _ in range(MEETINGS):
            with listener.accept() as connection:
                connection.send(connection.recv())
        taken = time.perf_counter() - begin
        process.join()
    return taken / MEETINGS


# What is measured, its goal against the standard library, and who takes part: faster-fifo has queues alone.
ALL = ("polyproc", "multiprocessing", "multiprocess", "faster_fifo")
MEASURES: dict[str, tuple[Measure, float, tuple[str, ...]]] = {
    "Queue, 64 bytes": (queue_bytes, 0.08, ALL),
    "Queue, small tuple": (queue_tuple, 0.15, ALL),
    "Queue, 2 producers and 2 consumers": (queue_two_to_two, 0.2, ALL),
    "Queue, there and back": (queue_ping_pong, 0.3, ALL),
    "Pipe, there and back": (pipe_ping_pong, 0.45, ALL[:3]),
    "Queue, 16 MiB array": (queue_array, 0.12, ALL),
    "Client and Listener, with a key": (meeting, 0.07, ALL[:3]),
}
