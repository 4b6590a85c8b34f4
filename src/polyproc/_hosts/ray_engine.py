"""The engine `ray`: agents are kept alive by actors, one on each node that has what is asked for.

Ray places, watches nodes and has the processors and GPUs; what a process is, is the agent's. So it is a program of its
own beside the actor's worker, which Ray signals and whose handlers it sets. Its end is the end of its connection; that
of its actor, whatever Ray's reason, is told by `on_lost`, and ends the connection.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

from polyproc._base.errors import ProcessError
from polyproc._base.process_state import log
from polyproc._base.typing import Any, Callable, Mapping, Sequence
from polyproc._hosts.host_engine import AgentSpec, Resources

_LOOK = 0.5  # seconds between two looks whether a node has come
_OF_RAY = ("node:", "object_store_memory")
_SHORT = 6  # characters of a node's id that are shown, where nodes share an address
_TOLD = 4000  # characters of what an agent has written that are told when it fails


class AgentHolder:
    """What the actor is: the agent's parent, on its node."""

    def __init__(self) -> None:
        self._agent: Any = None

    def start(self, argv: Sequence[str], line: bytes, env: Mapping[str, str], cwd: str | None) -> int:
        """Start the agent, by this Python unless another is named; return its pid."""
        words = [argv[0] or sys.executable, *argv[1:]]
        self._agent = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
            cwd=cwd,
            start_new_session=True,
        )
        try:
            self._agent.stdin.write(line)
            self._agent.stdin.flush()
        except OSError:  # it has ended
            pass
        return int(self._agent.pid)

    def wait(self) -> tuple[int, str]:
        """Wait for the agent's end; return its exit code and what it has written last."""
        if self._agent is None:  # it could not be started
            return -1, ""
        said, _ = self._agent.communicate()
        return self._agent.returncode, said.decode(errors="replace")[-_TOLD:]


class RayEngine:
    """Has agents on the nodes of a Ray cluster.

    Args:
        address: the cluster; unless given, that which this program is connected to, that of RAY_ADDRESS, or a local one
            that is started.
        runtime_env: what Ray is to prepare for the agents, as `ray.init` has it.
        node_timeout: how many seconds to wait, if no node has what is asked for, until one is there that has; the
            cluster's autoscaler is asked for it.
        options: what else `ray.init` shall be told, if it is called.
    """

    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        node_timeout: float = 0.0,
        **options: Any,
    ) -> None:
        asked = address or os.environ.get("RAY_ADDRESS") or ""
        if asked.startswith("ray://"):
            raise ProcessError(
                f"the engine 'ray' does not go through Ray Client ({asked}): agents call back, and nodes cannot reach "
                "a client outside of their network; run the program in the cluster, by `ray job submit`"
            )
        try:
            import ray
        except ImportError as error:
            text = f"the engine 'ray' needs what is not installed: {error}; pip install 'polyproc[ray]'"
            raise ProcessError(text) from error
        self._ray: Any = ray
        self._runtime_env = dict(runtime_env or {})
        self._node_timeout = node_timeout
        self._options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        if asked:
            self._options = {"address": asked, "log_to_driver": False, "logging_level": "ERROR"}
        self._options.update(options)
        self._has_started = False
        self._lock = threading.Lock()

    def _connected(self) -> Any:
        with self._lock:
            if not self._ray.is_initialized():
                self._ray.init(**self._options)
                self._has_started = True
        return self._ray

    def nodes(self, want: Resources) -> Sequence[str]:
        """Return the nodes that are alive and have as much as is asked for.

        Raises ProcessError if there is none, and none comes in time.
        """
        found = self._by_name(want)
        if not found and self._node_timeout > 0:
            found = self._awaited(want)
        if not found:
            after = f" after {self._node_timeout:g} s" if self._node_timeout > 0 else ""
            there = "; ".join(map(_description, self._alive())) or "none"
            raise ProcessError(f"the engine 'ray' has no nodes{after} with {dict(want)!r}. There are: {there}")
        return list(found)

    def _awaited(self, want: Resources) -> dict[str, str]:
        """Ask the autoscaler for a node and wait for it; print that, since it may take long."""
        if sys.stderr is not None:
            sys.stderr.write(f"waiting up to {self._node_timeout:g} s for a node of Ray that has {dict(want)!r}\n")
        deadline = time.monotonic() + self._node_timeout
        bundle = {name: amount for name, amount in _amounts(want).items() if amount}
        if bundle:
            try:
                self._connected().autoscaler.sdk.request_resources(bundles=[bundle])
            except Exception as error:  # noqa: BLE001  (there is none: a node may come otherwise)
                log.info("Ray's autoscaler cannot be asked: %s", error)
        while not (found := self._by_name(want)) and time.monotonic() < deadline:
            time.sleep(_LOOK)
        return found

    def _alive(self) -> list[Any]:
        return [node for node in self._connected().nodes() if node["Alive"]]

    def _by_name(self, want: Resources) -> dict[str, str]:
        found: dict[str, str] = {}
        alive = self._alive()
        addresses = [node["NodeManagerAddress"] for node in alive]
        for node in alive:
            address, id = node["NodeManagerAddress"], node["NodeID"]
            if _has(node, want):
                found[address if addresses.count(address) == 1 else f"{address}-{id[:_SHORT]}"] = id
        return found

    def address(self) -> str:
        """Return this node's address in the cluster."""
        return str(self._connected().util.get_node_ip_address())

    def lease(self, spec: AgentSpec, want: Resources, node: str) -> RayLease:
        """Start an agent on a node, by an actor. Raises ProcessError if there is no such node any more."""
        ray = self._connected()
        id = self._by_name(want).get(node)
        if id is None:
            raise ProcessError(f"Ray has no node {node!r} any more that has what is asked for: {dict(want)!r}")
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id=id, soft=False)
        options: dict[str, Any] = {"scheduling_strategy": strategy, "num_cpus": want.get("cpus", 0)}
        options.update(num_gpus=want.get("gpus", 0), memory=want.get("memory"), max_restarts=0)
        options["resources"] = {name: amount for name, amount in _labels(want) if not isinstance(amount, str)}
        if self._runtime_env:
            options["runtime_env"] = self._runtime_env
        actor = ray.remote(AgentHolder).options(**options).remote()
        argv = ["" if spec.argv[0] == sys.executable else spec.argv[0], *spec.argv[1:]]
        return RayLease(ray, node, id, actor, (argv, spec.standard_input(), dict(spec.env), spec.cwd))

    def close(self) -> None:
        """Leave the cluster, if this engine has joined it."""
        with self._lock:
            if self._has_started:
                self._has_started = False
                self._ray.shutdown()


def _labels(want: Resources) -> list[tuple[str, Any]]:
    return list(want.get("labels", {}).items())


def _amounts(want: Resources) -> dict[str, Any]:
    """Return how much is asked for of what Ray counts; labels with numbers are its custom resources."""
    asked = {"CPU": want.get("cpus", 0), "GPU": want.get("gpus", 0), "memory": want.get("memory", 0)}
    return {**asked, **{name: amount for name, amount in _labels(want) if not isinstance(amount, str)}}


def _has(node: Mapping[str, Any], want: Resources) -> bool:
    there, labels = node["Resources"], node.get("Labels") or {}
    return all(there.get(what, 0) >= amount for what, amount in _amounts(want).items()) and all(
        labels.get(name) == value for name, value in _labels(want) if isinstance(value, str)
    )


def _description(node: Mapping[str, Any]) -> str:
    """Return what a node has, for people."""
    there = {what: amount for what, amount in node["Resources"].items() if not what.startswith(_OF_RAY)}
    labels = {name: value for name, value in (node.get("Labels") or {}).items() if not name.startswith("ray.io/")}
    return f"{node['NodeManagerAddress']}: {there}" + (f", labels {labels}" if labels else "")


class RayLease:
    """An actor and its agent."""

    def __init__(self, ray: Any, node: str, node_id: str, actor: Any, start: tuple[Any, ...]) -> None:
        self.node = node
        self._node_id = node_id
        self._ray = ray
        self._actor = actor
        self._callbacks: list[Callable[[str], None]] = []
        self._lock = threading.Lock()
        self._failure: ProcessError | None = None
        self._begun = actor.start.remote(*start)
        self._ended = actor.wait.remote()
        self._thread = threading.Thread(target=self._watch, name=f"polyproc-ray-{node}", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            self._ray.get(self._begun)
            code, said = self._ray.get(self._ended)
            why = f"its agent ended with exit code {code}" + (f":\n{said}" if said else "")
        except Exception as error:  # noqa: BLE001  (whatever Ray has to say of the end of an actor)
            why = f"Ray says: {error}"
        with self._lock:
            self._failure = ProcessError(f"no agent on {self.node!r}: {why}")
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(why)

    def failure(self) -> ProcessError | None:
        """Return why there is no agent, if there is none any more."""
        return self._failure

    def waits_for(self) -> str:
        """Return what the node has left: another may have taken what the actor waits for."""
        try:
            left = self._ray._private.state.available_resources_per_node().get(self._node_id, {})
        except Exception as error:  # noqa: BLE001  (it is for a message)
            return f"Ray says: {error}"
        return f"Ray has not started its actor, or that has not: of what the node has is free: {left}"

    def forward(self) -> None:
        """Do nothing: what an agent writes is told with its end."""

    def on_lost(self, callback: Callable[[str], None]) -> None:
        """Call back when agent or actor have ended."""
        with self._lock:
            if self._failure is None:
                self._callbacks.append(callback)
                return
        callback(str(self._failure))

    def release(self) -> None:
        """End the actor; its agent ends with its connection."""
        with self._lock:
            self._callbacks.clear()
        try:
            self._ray.kill(self._actor)
        except Exception:  # noqa: BLE001  (the cluster is gone)
            pass
        self._thread.join(5.0)
