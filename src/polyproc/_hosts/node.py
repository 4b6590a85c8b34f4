"""A node, seen from here: its agent's lease and connection, the children there, and a thread that hears of them."""

from __future__ import annotations

import collections
import functools
import itertools
import json
import os
import threading
import time

from polyproc._base.errors import AuthenticationError, ProcessError, TimeoutError
from polyproc._base.process_state import log
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, Sequence
from polyproc._connection.listener import Listener
from polyproc._hosts.agent import LINE_LIMIT, versions
from polyproc._hosts.host_engine import AgentSpec, Engine, Lease, Resources
from polyproc._hosts.same_host import Probe
from polyproc._hosts.wire import PAYLOAD, Wire

if TYPE_CHECKING:
    from polyproc._hosts.certificate import Certificate
    from polyproc._hosts.display import Display
    from polyproc._hosts.remote_child import RemoteChild
    from polyproc._hosts.shared_things import SharedThings

AGENT = "polyproc._programs.run_agent"
_LOOK = 0.2  # seconds between looks whether an agent that is waited for cannot come any more
_INTRODUCTION = 10.0  # seconds that an agent has to say who it is
_LONGEST_LINE = 1 << 20  # bytes of a line without an end; a longer one is shown as several
_SHOWN = 1 << 16  # bytes that were shown, until that is said


class Home(NamedTuple):
    """What the nodes of a context have in common here: what is shared with them, and who shows what they write."""

    things: SharedThings
    display: Display


def is_loopback(address: str) -> bool:
    """Return whether nobody but this host reaches an address."""
    return address.startswith("127.") or address == "localhost"


def invite(
    engine: Engine,
    name: str,
    options: Mapping[str, Any],
    resources: Resources,
    certificate: Certificate | None,
    home: Home,
) -> Node:
    """Lease an agent and wait for its call; return its node.

    Each agent has a listener of its own, whose key is its ticket, and which is closed when it has come: a second call
    with the same ticket finds nobody.

    Raises:
        ProcessError: it did not come, or is of another version.
        OSError: it could not be started.
    """
    ticket = os.urandom(32)
    address = engine.address()
    tls = None if certificate is None else certificate.server_context()
    with Listener((address, 0), "AF_INET", authkey=ticket, ssl=tls) as listener, Probe() as probe:
        invitation = {
            "node": name,
            "dial": [listener.address],
            "fingerprint": None if certificate is None else certificate.fingerprint,
            "ticket": ticket.hex(),
            "probe": probe.place,
            **options["invitation"],
        }
        spec = AgentSpec([options["python"], "-m", AGENT], invitation, options["env"], options["cwd"])
        lease = engine.lease(spec, resources, name)
        try:
            sock = _admit(listener, lease, options["start_timeout"])
        except BaseException:
            listener.close()  # an agent that waits to be let in hears of the end
            lease.release()
            raise
        listener.close()
        try:
            facts = _introduced(sock, name)
        except BaseException:
            sock.close()
            lease.release()
            raise
    lease.forward()
    wire = Wire(sock, options["invitation"]["peer_timeout"])
    return Node(name, lease, wire, facts, home, options["start_timeout"])


def _admit(listener: Listener, lease: Lease, timeout: float) -> Any:
    """Wait for the agent; whoever else comes is refused."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            return listener._admit(_LOOK).sock
        except AuthenticationError as error:
            log.info("a stranger was refused that called in place of an agent: %s", error)
        except TimeoutError:
            if (failure := lease.failure()) is not None:
                raise failure from None
    raise ProcessError(
        f"the agent on {lease.node!r} did not call within {timeout:g} s: can it reach {listener.address}? "
        + lease.waits_for()
    )


def _introduced(sock: Any, name: str) -> dict[str, Any]:
    """Read who the agent is. Raises ProcessError for one of another version."""
    sock.settimeout(_INTRODUCTION)
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < LINE_LIMIT:
            piece = sock.recv(1)  # and not what comes behind it
            if not piece:
                break
            line += piece
        facts: dict[str, Any] = json.loads(line)
    except (OSError, ValueError) as error:
        raise ProcessError(f"the agent on {name!r} did not say who it is: {error}") from None
    ours = versions()
    for what, here in ours.items():
        there = facts.get(what)
        if _compared(what, there) != _compared(what, here):
            text = f"the agent on {name!r} has {what} {there}, this process {what} {here}: they have to be the same"
            raise ProcessError(text)
    return facts


def _compared(what: str, version: Any) -> Any:
    """Return the part of a version that has to be the same: of Python's its minor one, on which code depends."""
    return str(version).split(".")[:2] if what == "python" else version


class Node:
    """A node with an agent.

    Attributes:
        name: the engine's name for it, as shown to users.
        facts: what its agent has said of itself.
        lost: why it is not there any more; None as long as it is.
        is_leaving: whether its agent was told to vacate it: it gets no more work.
        is_here: whether it is this host, where processes open each other's memory.
    """

    def __init__(self, name: str, lease: Lease, wire: Wire, facts: dict[str, Any], home: Home, patience: float) -> None:
        self.name = name
        self.facts = facts
        self.lost: str | None = None
        self.is_leaving = False
        self.is_here = bool(facts.get("here"))
        self._lease = lease
        self._wire = wire
        wire.place = self._place  # type: ignore[method-assign]
        self._things, self._display = home
        self._patience = patience
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._children: dict[int, RemoteChild] = {}
        self._lines: dict[tuple[int, int], bytes] = {}
        self._shown: collections.Counter[tuple[int, int]] = collections.Counter()  # bytes of which nothing was said
        self._reports: dict[str, Callable[..., None]] = {
            "started": self._started,
            "failed": self._failed,
            "output": self._output,
            "data": self._data,
            "taken": self._taken,
            "want": self._wanted,
            "exited": self._exited,
            "leaving": self._leaving,
        }
        lease.on_lost(self._revoked)
        self._thread = threading.Thread(target=self._hear, name=f"polyproc-node-{name}", daemon=True)
        self._thread.start()

    @property
    def load(self) -> float:
        """How many children there are for each processor."""
        return len(self._children) / max(int(self.facts.get("cpus", 1)), 1)

    def start(self, child: RemoteChild, job: bytes, buffers: Sequence[memoryview], is_worker: bool) -> None:
        """Order a child's start, and tell it what becomes of that. Raises TimeoutError if the agent takes nothing."""
        with self._lock:
            if self.lost is not None:
                child.note_lost(self.lost)
                return
            child.id = next(self._ids)
            self._children[child.id] = child
        self.send("start", child.id, child.name, job, is_worker, [buffer.nbytes for buffer in buffers])
        self.send_large(child.id, buffers, self._patience)

    def send_large(self, key: int | str, buffers: Sequence[memoryview], patience: float | None = None) -> None:
        """Send buffers, as fast as the agent takes them. Raises TimeoutError if it takes nothing for so long."""
        try:
            for buffer in buffers:
                for start in range(0, buffer.nbytes, PAYLOAD):
                    self._wire.send("part", key, payload=buffer[start : start + PAYLOAD], patience=patience)
        except TimeoutError:
            raise
        except OSError:
            self._wire.shut()

    def forget(self, child: RemoteChild) -> None:
        """Forget a child whose start has failed; if it is there after all, it is killed."""
        with self._lock:
            if self._children.pop(child.id, None) is None:
                return
        self.send("kill tree", child.id)

    def send(self, *message: Any, payload: Any = b"") -> None:
        """Send an order, and do not wait until it has gone. If the agent is gone, its children hear of that."""
        try:
            self._wire.post(*message, payload=payload)
        except OSError:
            self._wire.shut()  # for the thread that hears

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        why = "its agent has ended"
        try:
            while True:
                self._wire.wait()
                self._wire.receive(lambda name, *details: self._reports[name](*details))
        except EOFError:
            pass
        except OSError as error:
            why = f"the connection to its agent was lost: {error}"
        except Exception as error:  # noqa: BLE001  (nonsense from an agent that has proved itself: it is given up)
            why = f"its agent sent what cannot be read: {error!r}"
        self._lose(why)

    def _lose(self, why: str) -> None:
        with self._lock:
            self.lost = why
            children, self._children = list(self._children.values()), {}
        self._wire.shut()
        for child in children:
            self._flush(child.id)
        self._display.settle()
        for child in children:
            child.note_lost(why)

    def _revoked(self, why: str) -> None:
        """Take the engine's word for the end of an agent: what still runs there is not ours any more."""
        self._wire.shut()

    def _started(self, id: int, pid: int) -> None:
        child = self._children.get(id)
        if child is not None:  # else its start was broken off, by a Ctrl-C
            child.note_started(pid)

    def _data(self, id: int, piece: memoryview) -> None:
        child = self._children.get(id)
        if child is not None:
            child.note_data(piece)

    def _place(self, message: tuple[Any, ...], size: int) -> memoryview | None:
        child = self._children.get(message[1]) if message[0] == "data" else None
        return None if child is None else child.place_for_data(size)

    def _taken(self, id: int, count: int) -> None:
        child = self._children.get(id)
        if child is not None:
            child.note_taken(count)

    def _wanted(self, name: str) -> None:
        """Send what is shared, by a thread that waits for the agent to take it."""
        memory = self._things.bytes_of(name)
        if memory is None:
            self.send("gone", name)
            return
        self.send("keep", name, memory.nbytes)
        threading.Thread(
            target=self.send_large, args=(name, [memory]), name=f"polyproc-share-{self.name}", daemon=True
        ).start()

    def _failed(self, id: int, why: str) -> None:
        child = self._children.pop(id, None)
        if child is not None:
            child.note_refused(why)

    def _exited(self, id: int, *how: Any) -> None:
        child = self._children.get(id)
        self._flush(id)
        self._display.settle()
        if child is not None:
            child.note_exit(*how)
            self._children.pop(id, None)

    def _leaving(self) -> None:
        self.is_leaving = True

    def _output(self, id: int, number: int, piece: memoryview) -> None:
        data = self._lines.pop((id, number), b"") + bytes(piece)
        lines, end, rest = data.rpartition(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, end, rest = data, b"\n", b""
        if rest:
            self._lines[id, number] = rest
        when_shown = functools.partial(self._note_shown, id, number, len(piece))
        if end:
            self._show(number, lines, when_shown)
        else:
            when_shown()

    def _note_shown(self, id: int, number: int, count: int) -> None:
        """Tell the agent, now and then, how much of what a child has written is shown: it reads so much more."""
        with self._lock:
            self._shown[id, number] += count
            if self._shown[id, number] < _SHOWN:
                return
            count = self._shown.pop((id, number))
        self.send("shown", id, number, count)

    def _flush(self, id: int) -> None:
        """Show what a child wrote last, without an end of its line."""
        for number in (1, 2):
            rest = self._lines.pop((id, number), b"")
            if rest:
                self._show(number, rest, lambda: None)

    def _show(self, number: int, lines: bytes, when_shown: Callable[[], object]) -> None:
        text = "".join(f"[{self.name}] {line}\n" for line in lines.decode(errors="replace").split("\n"))
        self._display.show(number, text, when_shown)

    # -- the end ---------------------------------------------------------------------------------------------------

    def signal_all(self, signum: int) -> None:
        """Send a signal to all children there."""
        for id in list(self._children):
            self.send("signal", id, int(signum))

    def close(self) -> None:
        """End the agent, and with it all children there."""
        self._wire.shut()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._wire.close()
        self._lease.release()

    def after_fork_in_child(self) -> None:
        """In a forked child: let go of the connection, which is the parent's."""
        self.lost = "the connection to its agent is that of this process's parent"
        self._wire.abandon()
