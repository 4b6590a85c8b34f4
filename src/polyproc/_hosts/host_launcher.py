"""What starts the processes of a remote context, and the workers of its pools."""

from __future__ import annotations

from polyproc._base.typing import Any
from polyproc._cleanup import Finalize
from polyproc._hosts.host_workers import HostWorkerSet
from polyproc._hosts.nodes import Nodes
from polyproc._hosts.remote_child import RemoteChild
from polyproc._process.process import BaseProcess
from polyproc._workers.worker_set import PoolConfig

_EARLY, _LATE = 100, -50  # priorities of finalizers: before and after the children are joined


class HostLauncher:
    """Starts process objects on nodes; as long as one of them, or a class for them, is there, so are the nodes."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self._interrupt = Finalize(self, Nodes.pass_interrupt_on, args=(nodes,), exitpriority=_EARLY)
        self._finalize = Finalize(self, Nodes.close, args=(nodes,), exitpriority=_LATE)

    def worker_set(self, config: PoolConfig) -> Any:
        """Return the workers of a pool on these nodes."""
        return HostWorkerSet(config, self.nodes)

    def launch(self, process: BaseProcess[Any]) -> RemoteChild:
        """Start a process."""
        return RemoteChild(process, self.nodes)
