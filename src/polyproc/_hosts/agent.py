"""The agent: on its node it starts children for a process elsewhere, and reports of them, by one connection.

It calls where its invitation says, and proves that it has the ticket; nothing is opened before that. When the
connection ends, so does the agent, and with it, by their lifelines, all that it has started: whoever asked for them is
gone, or will take them for lost.

    there                                          here
    start id, name, job, for a pool?, sizes   ->
    part key + bytes                          ->   (of a start's buffers)
                                              <-   started id, pid  |  failed id, why
    signal id, number                         ->
    word id, place, why  |  data id + bytes   ->   (of a pool's worker)
                                              <-   data id + bytes  |  taken id, how much
                                              <-   want name                (see shared_things.py)
    keep name, size  |  gone name             ->
    part name + bytes  |  drop name           ->
    look id  |  kill tree id                  ->
                                              <-   output id, stream + bytes
    shown id, stream, how much                ->
                                              <-   exited id, code, what it left
                                              <-   leaving                (SIGTERM: the node is to be vacated)
"""

from __future__ import annotations

import collections
import functools
import json
import os
import platform
import select
import selectors
import signal
import socket
import sys
import time

from polyproc._base.typing import Any, Callable, Mapping, Sequence
from polyproc._connection.connection import connection_of, plain_pipe
from polyproc._forkserver.fork_server import forkserver
from polyproc._hosts.child_output import ChildOutput
from polyproc._hosts.remote_life import live
from polyproc._hosts.same_host import boot_id, reaches
from polyproc._hosts.shared_things import KeptThings
from polyproc._hosts.wire import LOOK, Wire, dial, notice_loss, prove
from polyproc._memory.block import FileBlock, allocate
from polyproc._platform.circumstances import usable_processors
from polyproc._platform.handles import Tree, WakePipe
from polyproc._process.process import ForkProcess, ForkServerProcess, SpawnProcess
from polyproc._workers.interrupter import CancelWord

PROTOCOL = 3
LINE_LIMIT = 65536  # bytes of an invitation, and of an introduction
_LARGE_PIECE = 1 << 20
TOLD = 1 << 20  # bytes of a worker's that were taken, until that is said
_JOINING = 30  # seconds until an agent that nobody talks to gives up
_METHODS: dict[str, Any] = {"fork": ForkProcess, "spawn": SpawnProcess, "forkserver": ForkServerProcess}


def versions() -> dict[str, Any]:
    """Return what has to be the same on both sides."""
    return {"protocol": PROTOCOL, "python": platform.python_version(), "polyproc": sys.modules["polyproc"].__version__}


def introduction(is_here: bool) -> dict[str, Any]:
    """Return what an agent says of itself; it may be on the host of who asked for it (same_host.py)."""
    return {
        **versions(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "boot": boot_id(),
        "here": is_here,
        "cpus": usable_processors(),
    }


def join(invitation: Mapping[str, Any], is_here: bool) -> Wire:
    """Call, prove, introduce; return the connection. Raises OSError and AuthenticationError."""
    sock = dial([(host, port) for host, port in invitation["dial"]], invitation["fingerprint"])
    notice_loss(sock, invitation["peer_timeout"])
    prove(sock, bytes.fromhex(invitation["ticket"]))
    sock.sendall(json.dumps(introduction(is_here)).encode() + b"\n")
    return Wire(sock, invitation["peer_timeout"])


def main() -> None:
    """Read the invitation, serve, and end at once."""
    signal.signal(signal.SIGINT, lambda *args: None)  # a Ctrl-C is for the program at a terminal; children hear theirs
    signal.alarm(_JOINING)
    invitation = json.loads(sys.stdin.buffer.readline(LINE_LIMIT))
    os.environ["POLYPROC_HOST"] = invitation["node"]
    is_here = reaches(invitation["probe"])
    wire = join(invitation, is_here)
    signal.alarm(0)
    agent = Agent(wire, invitation, is_here)
    try:
        agent.serve()
    finally:
        sys.stderr.flush()
        os._exit(0)


class WorkerPipe:
    """The pipe of a pool's worker, from which bytes are passed on, and the memory that says which call it is to end."""

    def __init__(self) -> None:
        self.ours, self.theirs = plain_pipe()
        self.fd = self.ours.fileno()
        os.set_blocking(self.fd, False)
        self.word = CancelWord()
        self._unsent: collections.deque[memoryview] = collections.deque()
        self._taken = 0  # bytes, of which nothing was said

    def write(self, data: memoryview) -> None:
        """Write as much as the pipe takes, and keep the rest."""
        self._unsent.append(data)
        self.write_rest()

    def write_rest(self) -> bool:
        """Write what was kept; return whether that is all."""
        try:
            while self._unsent:
                piece = self._unsent.popleft()
                written = os.write(self.fd, piece)
                self._taken += written
                if written < len(piece):
                    self._unsent.appendleft(piece[written:])
        except BlockingIOError:
            self._unsent.appendleft(piece)
        except OSError:  # it has ended
            self._unsent.clear()
        return not self._unsent

    def taken(self) -> int:
        """Return how many bytes the pipe has taken that nothing was said of, if that is worth a word, else 0."""
        count = self._taken if self._taken >= TOLD else 0
        self._taken -= count
        return count


class Arriving:
    """Memory that is being filled with what comes for a start, or for what is kept here; and what is done then."""

    def __init__(
        self,
        sizes: Sequence[int],
        act: Callable[[list[tuple[Any, int]]], object],
        allocate: Callable[[int], Any] = allocate,
    ) -> None:
        self._blocks = [(allocate(size), size) for size in sizes]
        self._views = [memoryview(block.buffer).cast("B")[:size] for block, size in self._blocks]
        self._act = act

    def place(self, size: int) -> memoryview | None:
        """Return where the next part is to be put."""
        return self._views[0][:size] if self._views and size <= len(self._views[0]) else None

    def note(self, size: int) -> bool:
        """Note that a part has come; return whether that is all."""
        self._views[0] = self._views[0][size:]
        while self._views and not self._views[0]:
            self._views.pop(0)
        return not self._views

    def act(self) -> None:
        """Do what it is for."""
        self._act(self._blocks)


class AgentChild:
    """A child, as its agent sees it."""

    def __init__(self, id: int, process: Any, channel: WorkerPipe | None) -> None:
        self.id = id
        self.process = process
        self.channel = channel
        self.output: ChildOutput
        self.tree: Tree | None = None
        self.has_ended = False


def _note_sigterm(agent: int, wake: WakePipe) -> None:
    if os.getpid() == agent:
        wake.wake()
    else:  # a child by fork, that has this handler from here for a moment yet: it is meant
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


class Agent:
    """One agent: a loop over its connection, its children's ends, and what they write."""

    def __init__(self, wire: Wire, invitation: Mapping[str, Any], is_here: bool) -> None:
        self._wire = wire
        self._is_here = is_here
        self._grace: float = invitation["grace"]
        self._process = _METHODS[invitation["start_method"]]
        self._children: dict[int, AgentChild] = {}
        self._arriving: dict[int | str, Arriving] = {}
        wire.place = self._place  # type: ignore[method-assign]
        self._kept = KeptThings(wire)
        self._door = connection_of(self._kept.theirs)
        self._selector = selectors.DefaultSelector()
        self._pid = os.getpid()
        self._leaving_until: float | None = None
        self._wake = WakePipe()
        self._orders: dict[str, Callable[..., None]] = {
            "start": self._prepare,
            "part": self._part,
            "keep": self._keep,
            "gone": lambda name: self._kept.note(name, None),
            "drop": self._drop,
            "signal": self._signal,
            "word": self._name_call,
            "data": self._pass_on,
            "shown": self._shown,
            "look": self._look,
            "kill tree": self._kill_tree,
        }
        forkserver.set_forkserver_preload(
            ["polyproc._hosts.remote_life", "polyproc._hosts.host_workers", *invitation["preload"]], on_error="ignore"
        )

    def serve(self) -> None:
        """Serve until the connection ends, or this node is to be vacated."""
        signal.signal(signal.SIGTERM, lambda *args: _note_sigterm(self._pid, self._wake))
        self._watch(self._wire.fd, self._hear)
        self._watch(self._wake.fd, self._leave)
        self._watch(self._kept.fd, self._kept.serve)
        try:
            self._hear()
            while not self._is_done():
                found = self._selector.select(LOOK)
                self._wire.check()
                for key, _ in found:
                    if self._selector.get_map().get(key.fd) is key:  # not closed by what was done before
                        self._do(key.data)
        except (EOFError, OSError) as error:
            if not isinstance(error, EOFError):
                sys.stderr.write(f"the agent has lost its connection: {error}\n")

    def _watch(self, fd: int, act: Callable[[], object]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, act)

    def _hear(self) -> None:
        self._wire.receive(lambda name, *details: self._do(functools.partial(self._orders[name], *details)))

    def _do(self, act: Callable[[], object]) -> None:
        """Do one thing; for lack of descriptors or memory it fails, and the children go on."""
        try:
            act()
        except EOFError:
            raise
        except (OSError, MemoryError) as error:
            if self._wire.is_broken:
                raise
            sys.stderr.write(f"the agent could not do what it was asked: {type(error).__name__}: {error}\n")

    # -- leaving ---------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """Make the children end, after SIGTERM: a scheduler wants the node, or its time is over."""
        self._wake.drain()
        if self._leaving_until is None:
            self._leaving_until = time.monotonic() + self._grace
            self._wire.send("leaving")
            for child in self._running():
                child.process.terminate()

    def _running(self) -> list[AgentChild]:
        return [child for child in self._children.values() if not child.has_ended]

    def _is_done(self) -> bool:
        until = self._leaving_until
        return until is not None and (not self._running() or time.monotonic() >= until)

    # -- orders ----------------------------------------------------------------------------------------------------

    def _place(self, message: tuple[Any, ...], size: int) -> memoryview | None:
        """Return where a payload that comes is to be put."""
        arriving = self._arriving.get(message[1]) if message[0] == "part" else None
        return None if arriving is None else arriving.place(size)

    def _part(self, key: int | str, part: memoryview) -> None:
        arriving = self._arriving.get(key)
        if arriving is not None and arriving.note(len(part)):
            del self._arriving[key]
            arriving.act()

    def _keep(self, name: str, size: int) -> None:
        """Keep, for the processes here, what comes now."""
        try:
            arriving = Arriving([size], lambda blocks: self._kept.note(name, blocks[0][0]), FileBlock)
        except (OSError, MemoryError):
            self._kept.note(name, None)
        else:
            self._arriving[name] = arriving

    def _drop(self, name: str) -> None:
        self._arriving.pop(name, None)
        self._kept.drop(name)

    def _prepare(self, id: int, name: str, job: bytes, is_worker: bool, sizes: Sequence[int]) -> None:
        """Start a child, when its buffers are here."""
        if not sizes:
            self._start(id, name, job, is_worker, [])
            return
        try:
            self._arriving[id] = Arriving(sizes, lambda blocks: self._start(id, name, job, is_worker, blocks))
        except (OSError, MemoryError) as error:
            self._wire.send("failed", id, f"there is no memory for its arguments: {error}")

    def _start(self, id: int, name: str, job: bytes, is_worker: bool, blocks: list[tuple[Any, int]]) -> None:
        ours: Sequence[Any] = ()
        theirs: Sequence[Any] = ()
        channel = None
        try:
            if self._leaving_until is not None:
                raise OSError("the node is being vacated, and starts no more processes")
            ours, theirs = zip(plain_pipe(duplex=False), plain_pipe(duplex=False), strict=True)
            channel = WorkerPipe() if is_worker else None
            passed = None if channel is None else (channel.theirs, channel.word.block, self._is_here)
            process = self._process(target=live, args=(job, theirs, self._door, passed, blocks), name=name, daemon=True)
            process.start()
        except Exception as error:  # noqa: BLE001  (whatever it was: told to who asked)
            for end in (*ours, *([channel.ours] if channel is not None else [])):
                end.close()
            self._wire.send("failed", id, f"{type(error).__name__}: {error}")
            return
        finally:
            for end in (*theirs, *([channel.theirs] if channel is not None else [])):
                end.close()
        child = self._children[id] = AgentChild(id, process, channel)
        if channel is not None:
            self._watch(channel.fd, functools.partial(self._serve_channel, child, channel))
        child.output = ChildOutput(id, ours, self._wire, self._selector, lambda: self._forget(child))
        self._wire.send("started", id, process.pid)
        self._watch(process.sentinel, lambda: self._ended(child))

    def _signal(self, id: int, number: int) -> None:
        child = self._children.get(id)
        if child is not None and not child.has_ended:
            child.process._popen.signal(number)

    def _name_call(self, id: int, place: int, why: int) -> None:
        child = self._children.get(id)
        if child is not None and child.channel is not None:
            child.channel.word.set(place, why)

    def _pass_on(self, id: int, data: memoryview) -> None:
        child = self._children.get(id)
        if child is not None and child.channel is not None:
            child.channel.write(data)
            self._watch_channel(child, child.channel)

    def _watch_channel(self, child: AgentChild, channel: WorkerPipe) -> None:
        """Wait for what comes from a worker, and for room for what goes to it, if something does."""
        events = selectors.EVENT_READ
        if not channel.write_rest():
            events |= selectors.EVENT_WRITE
        if count := channel.taken():
            self._wire.send("taken", child.id, count)
        if self._selector.get_key(channel.fd).events != events:
            self._selector.modify(channel.fd, events, functools.partial(self._serve_channel, child, channel))

    def _serve_channel(self, child: AgentChild, channel: WorkerPipe) -> None:
        if self._read_channel(child, channel):
            self._watch_channel(child, channel)

    def _read_channel(self, child: AgentChild, channel: WorkerPipe) -> bool:
        """Pass on what a worker has written; return whether more may come."""
        try:
            piece = os.read(channel.fd, _LARGE_PIECE)
        except BlockingIOError:
            return True
        except OSError:  # it was killed
            piece = b""
        if piece:
            self._wire.send("data", child.id, payload=piece)
            return True
        self._selector.unregister(channel.fd)
        channel.ours.close()
        child.channel = None
        return False

    def _drain_channel(self, child: AgentChild) -> None:
        """Pass on what is left of a worker that has ended; its pipe may be held by processes that it has started."""
        channel = child.channel
        while channel is not None and select.select([channel.fd], [], [], 0)[0]:
            if not self._read_channel(child, channel):
                return
        if channel is not None:
            self._selector.unregister(channel.fd)
            channel.ours.close()
            child.channel = None

    def _look(self, id: int) -> None:
        child = self._children.get(id)
        if child is not None and not child.has_ended:
            if child.tree is None:
                child.tree = Tree(child.process.pid)
            child.tree.look()

    def _kill_tree(self, id: int) -> None:
        self._arriving.pop(id, None)
        try:
            self._look(id)
        except OSError:  # there are no descriptors: itself, at least
            self._signal(id, signal.SIGKILL)
        child = self._children.get(id)
        if child is not None and child.tree is not None:
            child.tree.kill()
            child.tree.__exit__()
            child.tree = None
            self._forget(child)

    # -- reports ---------------------------------------------------------------------------------------------------

    def _shown(self, id: int, *shown: Any) -> None:
        if id in self._children:
            self._children[id].output.note_shown(*shown)

    def _forget(self, child: AgentChild) -> None:
        """Forget a child that has ended, and of which nothing more can come."""
        if child.has_ended and not child.output.ends and child.tree is None:
            self._children.pop(child.id, None)

    def _ended(self, child: AgentChild) -> None:
        process, handle = child.process, child.process._popen
        self._selector.unregister(process.sentinel)
        process.join()
        child.output.drain()
        self._drain_channel(child)
        child.has_ended = True
        kind, data = handle._left
        left = (kind, data, handle._output, handle._stack, handle._lacked_memory)
        self._wire.send("exited", child.id, handle.returncode, *left, self._leaving_until is not None)
        process.close()
        self._forget(child)
