"""`python -m polyproc doctor --engine NAME`: which nodes an engine has, what is there, and how long a process takes."""

from __future__ import annotations

import time

from polyproc._base.errors import ProcessError
from polyproc._base.typing import Any, Iterator
from polyproc._cli.doctor import Finding, show
from polyproc._context import default_context

_IN_TIME = 60.0


def main(name: str, options: dict[str, Any]) -> int:
    """Print what is found; return 0 if all is well."""
    return show(findings(name, options))


def findings(name: str, options: dict[str, Any]) -> Iterator[Finding]:
    """Yield what is found: the nodes, one by one, with a process on each. Leaves nothing behind."""
    try:
        context: Any = default_context.get_context(name, **options)
    except (ProcessError, ValueError, TypeError) as error:
        yield Finding(name, f"{type(error).__name__}: {error}", "see docs/cluster.md")
        return
    with context:
        try:
            began = time.monotonic()
            nodes = context._nodes.all()
        except (ProcessError, OSError) as error:
            yield Finding(name, f"{error}", "is this library there, by the same Python, and can it reach this host?")
            return
        yield Finding(name, f"{len(nodes)} nodes, after {time.monotonic() - began:.2f} s")
        for node in nodes:
            facts = node.facts
            yield Finding(node.name, f"{facts['host']}, Python {facts['python']}, {facts['cpus']} processors")
        for _ in nodes:
            yield _process(context)


def _process(context: Any) -> Finding:
    process = context.Process(target=_nothing)
    began = time.monotonic()
    try:
        process.start()
        process.result(_IN_TIME)
    except (ProcessError, OSError) as error:
        return Finding("a process", f"{type(error).__name__}: {error}", "processes cannot be started there")
    return Finding("a process", f"on {process._popen.host}, in {(time.monotonic() - began) * 1e3:.1f} ms")


def _nothing() -> None:
    """Do nothing, on a node."""
