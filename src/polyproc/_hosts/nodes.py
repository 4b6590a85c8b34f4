"""The nodes of a context: leased when they are first needed, chosen by their load, and given back at the end."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import warnings
import weakref

from polyproc._base.errors import ProcessError
from polyproc._base.modules import said
from polyproc._base.typing import Any, Mapping, Sequence
from polyproc._hosts.carried_code import CarriedModule, carry
from polyproc._hosts.certificate import Certificate, make_certificate
from polyproc._hosts.display import Display
from polyproc._hosts.host_engine import Engine, Resources, check_resources
from polyproc._hosts.node import Home, Node, invite, is_loopback
from polyproc._hosts.object_server import ObjectServer
from polyproc._hosts.shared_things import SharedThings
from polyproc._hosts.wire import PEER_TIMEOUT
from polyproc._managers.manager import SyncManager

_RESTS = 10.0  # seconds for which a place whose agent was lost or did not come is not asked again
_GRACE = 10.0
_START_TIMEOUT = 60.0
_METHODS = ("fork", "spawn", "forkserver")


def _check(local: str, modules: Sequence[str], resources: Resources, **limits: float) -> None:
    """Raise TypeError or ValueError for options that mean nothing."""
    if local not in _METHODS:
        raise ValueError(f"local must be a start method, one of {', '.join(_METHODS)}, and not {local!r}")
    if isinstance(modules, str):
        raise TypeError(f"modules must be a list of names, and not the string {modules!r}: write [{modules!r}]")
    for what, seconds in limits.items():
        said("seconds", seconds, what)
        if not seconds > 0:
            raise ValueError(f"{what} must be a number of seconds above zero, and not {seconds!r}")
    check_resources(resources)


class Nodes:
    """The nodes of an engine.

    Args:
        engine_name: what users call the engine.
        engine: the engine.
        local: the start method that agents use.
        resources: what each agent's node has to have, for engines that look for that.
        modules: names of modules and packages that go along.
        preload: names of modules that the fork servers there import first.
        env: environment variables for agents and their children.
        cwd: where they start.
        python: the Python there.
        peer_timeout: after how many seconds without a word a host is lost.
        grace: how many seconds children have to end when their node is to be vacated.
        start_timeout: how many seconds an agent has to call, and to answer when a process is to be started.
    """

    def __init__(  # noqa: PLR0913  (what a user may choose)
        self,
        engine_name: str,
        engine: Engine,
        *,
        local: str = "forkserver",
        resources: Resources | None = None,
        modules: Sequence[str] = (),
        preload: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        python: str | None = None,
        peer_timeout: float = PEER_TIMEOUT,
        grace: float = _GRACE,
        start_timeout: float = _START_TIMEOUT,
    ) -> None:
        _check(local, modules, resources or {}, peer_timeout=peer_timeout, grace=grace, start_timeout=start_timeout)
        self.engine_name = engine_name
        self._engine = engine
        self._resources: Resources = resources or {}
        self.has_folder = cwd is not None
        self._modules = list(modules)
        self._carried: dict[str, CarriedModule] | None = None
        self._told: dict[str, Any] = {
            "python": python or sys.executable,
            "env": dict(env or {}),
            "cwd": cwd,
            "start_timeout": start_timeout,
            "invitation": {
                "peer_timeout": peer_timeout,
                "grace": grace,
                "start_method": local,
                "preload": list(preload),
            },
        }
        self.start_timeout = start_timeout
        self._lock = threading.RLock()
        self._certificate: Certificate | None = None
        self._nodes: dict[str, Node] = {}
        self._rests: dict[str, float] = {}  # until when a node is not asked
        self._is_closed = False
        self._turn = 0
        self._objects: ObjectServer | None = None
        self.things = SharedThings(self._drop_thing)
        self._display = Display()
        _all.add(self)

    def carried(self) -> dict[str, CarriedModule]:
        """Return the modules that go along, read once."""
        if self._carried is None:
            self._carried = carry(self._modules)
        return self._carried

    def pick(self) -> Node:
        """Return the node with the least load; lease what is not leased yet. Raises ProcessError and OSError."""
        with self._lock:
            nodes = self.all()
            self._turn += 1
            return min(nodes, key=lambda node: (node.load, (nodes.index(node) - self._turn) % len(nodes)))

    def all(self) -> list[Node]:
        """Return the nodes that are there, leased if they were not."""
        with self._lock:
            self._check_open()
            self._drop_lost()
            now = time.monotonic()
            missing = [name for name in self._engine.nodes(self._resources) if name not in self._nodes]
            failed = self._lease([name for name in missing if self._rests.get(name, 0.0) <= now])
            found = self._usable()
            if not found and not failed:  # all rest: there is no other
                failed = self._lease(missing)
                found = self._usable()
            if not found:
                raise next(iter(failed.values()), ProcessError(f"the engine {self.engine_name!r} has no nodes"))
            for error in failed.values():
                warnings.warn(f"a node of the engine {self.engine_name!r} is not used: {error}", RuntimeWarning)
            return found

    def has_one_here(self) -> bool:
        """Return whether one of those that are leased is on this host."""
        return any(node.is_here for node in list(self._nodes.values()))

    def _usable(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.lost is None and not node.is_leaving]

    def _drop_lost(self) -> None:
        for name, node in list(self._nodes.items()):
            if node.lost is not None:
                del self._nodes[name]
                self._rests[name] = time.monotonic() + _RESTS
                node.close()

    def _lease(self, names: Sequence[str]) -> dict[str, Exception]:
        """Lease agents, all at once; return what went wrong with which."""
        if not names:
            return {}
        self._certificate_for(self._engine.address())
        self._display.begin()
        came: queue.SimpleQueue[tuple[str, Node | Exception]] = queue.SimpleQueue()
        leasing = _Leasing(self, came)
        failed: dict[str, Exception] = {}
        try:
            for name in names:
                leasing.begin(name)
            for _ in names:
                name, found = came.get()
                if isinstance(found, Node):
                    self._nodes[name] = found
                else:
                    failed[name] = found
                    self._rests[name] = time.monotonic() + _RESTS
        except BaseException:  # a Ctrl-C
            leasing.is_abandoned = True
            raise
        return failed

    def invite(self, name: str) -> Node:
        """Lease one agent."""
        home = Home(self.things, self._display)
        return invite(self._engine, name, self._told, self._resources, self._certificate, home)

    def _drop_thing(self, name: str) -> None:
        """Make all nodes drop what is no longer shared."""
        for node in list(self._nodes.values()):
            if node.lost is None:
                node.send("drop", name)

    def cpu_count(self) -> int:
        """Return how many processors there are on all nodes."""
        return sum(int(node.facts["cpus"]) for node in self.all())

    def objects(self) -> ObjectServer:
        """Return the server of this context's objects."""
        with self._lock:
            self._check_open()
            if self._objects is None:
                address = self._engine.address()
                self._objects = ObjectServer(SyncManager._registry, address, self._certificate_for(address))
            return self._objects

    def _certificate_for(self, address: str) -> Certificate | None:
        if self._certificate is None and not is_loopback(address):
            self._certificate = make_certificate()
        return self._certificate

    def _check_open(self) -> None:
        if self._is_closed:
            raise ProcessError(f"the context of the engine {self.engine_name!r} was closed: make another one")

    def close(self) -> None:
        """End all agents and all processes there; the objects are gone, too."""
        with self._lock:
            self._is_closed = True
            nodes, self._nodes = list(self._nodes.values()), {}
            objects, self._objects = self._objects, None
        for node in nodes:
            node.close()
        self._display.end()
        if objects is not None:
            objects.end()
        self._engine.close()

    def pass_interrupt_on(self) -> None:
        """At the exit that a Ctrl-C has brought about: let it be heard on other hosts, as it was by children here."""
        if getattr(sys, "last_type", None) is KeyboardInterrupt:
            for node in list(self._nodes.values()):
                node.signal_all(signal.SIGINT)

    def after_fork_in_child(self) -> None:
        """In a forked child: begin without nodes."""
        self._lock = threading.RLock()
        for node in self._nodes.values():
            node.after_fork_in_child()
        self._nodes = {}
        self._rests = {}
        self._display = Display()
        if self._objects is not None:
            self._objects.abandon()
            self._objects = None


class _Leasing:
    """Agents that are being leased, each by a thread of its own."""

    def __init__(self, nodes: Nodes, came: queue.SimpleQueue[tuple[str, Node | Exception]]) -> None:
        self._nodes = nodes
        self._came = came
        self.is_abandoned = False

    def begin(self, name: str) -> None:
        """Lease one."""
        thread = threading.Thread(target=self._run, args=(name,), name=f"polyproc-lease-{name}", daemon=True)
        thread.start()

    def _run(self, name: str) -> None:
        try:
            node = self._nodes.invite(name)
        except Exception as error:  # noqa: BLE001  (told where it is waited for)
            self._came.put((name, error))
            return
        if self.is_abandoned:
            node.close()
        else:
            self._came.put((name, node))


_all: weakref.WeakSet[Nodes] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for nodes in list(_all):
        nodes.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
