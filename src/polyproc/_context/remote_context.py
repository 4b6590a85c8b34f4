"""The context of an engine: processes are on other hosts."""

from __future__ import annotations

from types import TracebackType

from polyproc._context.context import BaseContext
from polyproc._hosts.host_engine import find_engine
from polyproc._hosts.nodes import HostLauncher, Nodes
from polyproc._process.kinds import Process, launched_by
from polyproc._typing import Any, Self

_OF_NODES = frozenset(
    ["local", "resources", "modules", "preload", "env", "cwd", "python", "peer_timeout", "grace", "start_timeout"]
)


class RemoteContext(BaseContext):
    """Processes are on the nodes of an engine. `close`, and `with`, end the agents there and all that they started."""

    def __init__(self, name: str, nodes: Nodes) -> None:
        self._name = name  # type: ignore[misc]  # of this one context
        self._nodes = nodes
        self.Process = launched_by(HostLauncher(nodes), Process)  # type: ignore[misc]

    def cpu_count(self) -> int:
        """Return the number of CPUs of all nodes."""
        return self._nodes.cpu_count()

    def close(self) -> None:
        """End the agents, and all processes that they have started."""
        self._nodes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def make_context(name: str, options: dict[str, Any]) -> RemoteContext:
    """Return the context of an engine, which is there.

    Raises:
        ProcessError: what the engine needs is not installed.
        TypeError, ValueError: options that it does not know, or that mean nothing.
    """
    kind = find_engine(name)
    assert kind is not None  # it was looked for
    of_nodes = {key: value for key, value in options.items() if key in _OF_NODES}
    engine = kind(**{key: value for key, value in options.items() if key not in _OF_NODES})
    return RemoteContext(name, Nodes(name, engine, **of_nodes))
