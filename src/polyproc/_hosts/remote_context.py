"""The context of an engine: processes are on other hosts."""

from __future__ import annotations

from types import TracebackType

from polyproc._base.errors import ProcessError
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Iterable, Self
from polyproc._context import BaseContext
from polyproc._hosts import host_objects, host_pipes
from polyproc._hosts.host_engine import find_engine
from polyproc._hosts.host_workers import HostLauncher
from polyproc._hosts.nodes import Nodes
from polyproc._hosts.object_server import SERIALIZER, HostToken
from polyproc._hosts.served_kinds import MAKERS
from polyproc._managers.manager import State, SyncManager
from polyproc._process.process import Process, launched_by
from polyproc._synchronize.typed import RawArray, RawValue

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

    # -- shared objects, in this process ---------------------------------------------------------------------------

    def _shared(self, name: str, *args: Any) -> Any:
        made = MAKERS[name](*args)
        return host_objects.handle_for(self._nodes.objects(), host_objects.HANDLES[name], made)

    def Manager(self) -> Any:
        """Return a manager of objects in this process, for processes on any host."""
        return HostManager(self._nodes.objects())

    def Pipe(self, duplex: bool = True) -> Any:
        """Return two connected ends; without `duplex` the first only receives and the second only sends."""
        return host_pipes.pipe(self._nodes.objects(), duplex)

    def Lock(self) -> Any:
        """Return a lock; any process or thread may release it."""
        return self._shared("Lock")

    def RLock(self) -> Any:
        """Return a lock that its holder may take again."""
        return self._shared("RLock")

    def Semaphore(self, value: int = 1) -> Any:
        """Return a counter to wait for."""
        return self._shared("Semaphore", value)

    def BoundedSemaphore(self, value: int = 1) -> Any:
        """Return a counter that does not get above its first value."""
        return self._shared("BoundedSemaphore", value)

    def Condition(self, lock: Any = None) -> Any:
        """Return a condition to wait for."""
        objects = self._nodes.objects()
        return self._shared("Condition", None if lock is None else objects.object_of(lock._id))

    def Event(self) -> Any:
        """Return a flag to wait for."""
        return self._shared("Event")

    def Barrier(self, parties: int, action: Callable[[], None] | None = None, timeout: float | None = None) -> Any:
        """Return a place where `parties` processes wait for each other; the action is called in this process."""
        return self._shared("Barrier", parties, action, timeout)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """Return a value in this process with a lock (True for a new RLock, False for none)."""
        return self._cell(host_objects.HostValue, RawValue(typecode_or_type, *args), lock)

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        """Return an array in this process with a lock (True for a new RLock, False for none)."""
        return self._cell(host_objects.HostArray, RawArray(typecode_or_type, size_or_initializer), lock)

    def _cell(self, kind: type[Any], obj: Any, lock: Any) -> Any:
        lock = self.RLock() if lock is True else lock or None
        return kind(host_objects.make_cell(self._nodes.objects(), obj), lock)

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """Refuse: hosts share no memory."""
        raise self._shares_no_memory("RawValue", "Value(..., lock=False)")

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """Refuse: hosts share no memory."""
        raise self._shares_no_memory("RawArray", "Array(..., lock=False)")

    def _shares_no_memory(self, what: str, instead: str) -> ProcessError:
        text = (
            f"the engine {self._name!r} starts processes on other hosts, which share no memory: {what} cannot be made"
        )
        return ProcessError(f"{text}; {instead} is served by this process")

    def Queue(self, maxsize: int = 0) -> Any:
        """Return a queue for any number of producers and consumers."""
        return self._shared("Queue", maxsize) if maxsize <= 0 else self._bounded(maxsize)

    def _bounded(self, maxsize: int) -> Any:
        made = MAKERS["Queue"](maxsize)
        return host_objects.handle_for(self._nodes.objects(), host_objects.HostBoundedQueue, made)

    def JoinableQueue(self, maxsize: int = 0) -> Any:
        """Return a queue that counts its items until they are done."""
        return self._shared("JoinableQueue", maxsize)

    def SimpleQueue(self) -> Any:
        """Return a queue with few methods."""
        return self._shared("SimpleQueue")

    def Pool(self, processes: int | None = None, *args: Any, **kwds: Any) -> Any:
        """Return a pool of workers on the nodes, as many as there are CPUs unless given: see `polyproc.pool.Pool`."""
        return super().Pool(self.cpu_count() if processes is None else processes, *args, **kwds)

    # -- the end ---------------------------------------------------------------------------------------------------

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


# The manager of a remote context: its objects are in this process, beside the context's queues and locks.

if TYPE_CHECKING:
    from polyproc._hosts.object_server import ObjectServer


class HostManager(SyncManager):
    """Makes objects in the process of the context, which ends with that."""

    def __init__(self, server: ObjectServer) -> None:
        super().__init__(server.address, server.authkey, SERIALIZER)
        self._objects = server
        self._state = State.STARTED

    def start(self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()) -> None:
        """Refuse: it is started."""
        self._check_initial()

    def shutdown(self) -> None:  # type: ignore[override]  # which others get when they are started
        """Make no more objects; those that there are stay as long as somebody refers to them."""
        self._state = State.SHUTDOWN

    def _create(self, typeid: str, /, *args: Any, **kwds: Any) -> tuple[HostToken, Any]:
        assert self._state == State.STARTED, self._why_not()
        ident, exposed = self._objects.create("", typeid, *args, **kwds)
        return HostToken(typeid, self._address, ident), exposed
