"""The demo's work: parse Python files, and count what is in them."""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Measure:
    """What was counted."""

    files: int = 0
    lines: int = 0
    functions: int = 0
    failed: int = 0
    names: Counter[str] = field(default_factory=Counter)

    def add(self, other: Measure) -> None:
        """Add what was counted elsewhere."""
        self.files += other.files
        self.lines += other.lines
        self.functions += other.functions
        self.failed += other.failed
        self.names.update(other.names)


def find_files(limit: int | None) -> list[str]:
    """Return the .py files of the standard library; not what happens to be installed beside it."""
    root = sysconfig.get_path("stdlib")
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        if folder == root and "site-packages" in folders:
            folders.remove("site-packages")
        found += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    return sorted(found)[:limit]


def measure_files(paths: list[str]) -> Measure:
    """Parse and count."""
    total = Measure()
    for path in paths:
        total.files += 1
        try:
            with open(path, "rb") as file:
                source = file.read()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(source)
        except (OSError, SyntaxError, ValueError, RecursionError):  # some are there to be wrong
            total.failed += 1
            continue
        total.lines += source.count(b"\n")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                total.functions += 1
            elif isinstance(node, ast.Name):
                total.names[node.id] += 1
    return total
