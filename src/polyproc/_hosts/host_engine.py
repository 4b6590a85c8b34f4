"""The seam: an engine keeps an agent alive on a node, and knows nothing of processes.

Engines are found by the entry point group `polyproc.engines`, by their name, and loaded when that is asked for.
"""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import entry_points

from polyproc._base.errors import ProcessError
from polyproc._base.typing import Any, Callable, Mapping, Protocol, Sequence, TypedDict

GROUP = "polyproc.engines"


class Resources(TypedDict, total=False):
    """What a node has to have for an agent, and keeps for it. An engine that places nothing refuses them.

    Attributes:
        cpus: processors, perhaps a part of one.
        gpus: devices, perhaps a part of one.
        memory: bytes.
        labels: what the node is labelled with; of custom resources how much it has of each: {"ssd": 1}.
    """

    cpus: float
    gpus: float
    memory: int
    labels: Mapping[str, str | float]


def check_resources(resources: Resources) -> None:
    """Raise TypeError or ValueError for what cannot be asked for."""
    for name, amount in resources.items():
        if name not in Resources.__annotations__:
            known = ", ".join(Resources.__annotations__)
            raise ValueError(f"resources has no {name!r}: what can be asked for is {known}")
        if name == "labels":
            if not isinstance(amount, Mapping):
                raise TypeError(f"labels must be a mapping of names to texts or numbers, and not {amount!r}")
            continue
        if isinstance(amount, bool) or not isinstance(amount, int | float):
            raise TypeError(f"{name} must be a number, and not {amount!r}")
        if not 0 <= amount < float("inf"):
            raise ValueError(f"{name} must be zero or more, and not {amount!r}")


@dataclasses.dataclass(frozen=True)
class AgentSpec:
    """What an engine carries to a node. Nothing of the user's code, and nothing that has to be unpickled.

    Attributes:
        argv: the agent's command line.
        invitation: what the agent is told by its standard input: where to call, and its ticket, which is good once.
        env: environment variables that it gets beside those of the node.
        cwd: where it starts; None for wherever the engine does.
    """

    argv: Sequence[str]
    invitation: Mapping[str, Any]
    env: Mapping[str, str]
    cwd: str | None = None

    def standard_input(self) -> bytes:
        """Return what is written to the agent's standard input: one line."""
        return json.dumps(dict(self.invitation)).encode() + b"\n"


class Lease(Protocol):
    """One agent on one node."""

    node: str

    def failure(self) -> Exception | None:
        """Return why there will be no agent, as soon as that is known."""
        ...

    def waits_for(self) -> str:
        """Return what keeps an agent that has not come, as far as that is known."""
        ...

    def forward(self) -> None:
        """Show what the agent writes to its streams from now on, if that comes here at all."""
        ...

    def release(self) -> None:
        """End the agent, and wait for that. A second call does nothing."""
        ...

    def on_lost(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with the reason when the engine sees that the agent is gone; it may come late or never."""
        ...


class Engine(Protocol):
    """What keeps agents alive."""

    name: str

    def nodes(self, want: Resources) -> Sequence[str]:
        """Return the names of the nodes where an agent can be had now; each is another."""
        ...

    def address(self) -> str:
        """Return the address of this host by which nodes reach it, and on which to listen."""
        ...

    def lease(self, spec: AgentSpec, want: Resources, node: str) -> Lease:
        """Start an agent. Raises ProcessError or OSError if that cannot be."""
        ...

    def close(self) -> None:
        """Give back what the engine holds beside its leases."""
        ...


def engine_names() -> list[str]:
    """Return the names of the engines that are installed."""
    return sorted({found.name for found in entry_points(group=GROUP)})


def find_engine(name: str) -> Callable[..., Engine] | None:
    """Load the engine of a name; None if there is none.

    Raises:
        ProcessError: what it needs is not installed.
    """
    for found in entry_points(group=GROUP, name=name):
        try:
            engine: Callable[..., Engine] = found.load()
        except ImportError as error:
            raise ProcessError(
                f"the engine {name!r} cannot be loaded: {error}; pip install 'polyproc[{name}]'"
            ) from error
        return engine
    return None
