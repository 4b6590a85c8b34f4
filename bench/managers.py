"""What a manager's objects cost: each measure is a function of a library that returns seconds for one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

TURNS = 1_000
OBJECTS = 100


class Library:
    """A library under its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.context = import_module(name).get_context("fork")


def get_and_set(library: Library) -> float:
    """Set an item of a dictionary, and get it back."""
    with library.context.Manager() as manager:
        shared = manager.dict(a=0)
        begin = time.perf_counter()
        for number in range(TURNS):
            shared["a"] = number
            shared["a"]
        return (time.perf_counter() - begin) / (2 * TURNS)


def create(library: Library) -> float:
    """Create a dictionary, and drop it."""
    with library.context.Manager() as manager:
        manager.dict()
        begin = time.perf_counter()
        for _ in range(OBJECTS):
            manager.dict()
        return (time.perf_counter() - begin) / OBJECTS


MEASURES: dict[str, tuple[Callable[[Any], float], float]] = {
    "Manager, dict get or set": (get_and_set, 0.4),
    "Manager, create an object": (create, 0.1),
}
