"""BaseManager: a server process and its registered types, or a server somewhere else that was connected to."""

from __future__ import annotations

import queue
import sys
import threading  # noqa: F401  (the same)
from enum import IntEnum
from types import TracebackType

from polyproc._base.errors import ProcessError
from polyproc._base.modules import of_kind, public, shown
from polyproc._base.process_state import log
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, Self, Sequence, TypeVar, overload
from polyproc._cleanup import Finalize
from polyproc._connection.connection import plain_pipe
from polyproc._managers.links import Link, Token, answer_of, links, listener_client
from polyproc._managers.proxies import (
    AcquirerProxy,
    ArrayProxy,
    AutoProxy,
    BarrierProxy,
    ConditionProxy,
    DictProxy,
    EventProxy,
    IteratorProxy,
    ListProxy,
    NamespaceProxy,
    PoolProxy,
    SetProxy,
    ValueProxy,
)
from polyproc._managers.server import Registered, Server, run_server
from polyproc._platform.handles import Heard, HeldBack
from polyproc._process.process import AuthenticationString, Process, current_process
from polyproc._threads import Array, Namespace

if TYPE_CHECKING:
    from ssl import SSLContext

    from polyproc._memory.segment import ShareableList as SegmentList
    from polyproc._memory.segment import SharedMemory as Segment

K = TypeVar("K")
T = TypeVar("T")


@public("managers")
class State(IntEnum):
    """What a manager is at: its server was not started, is there, or was shut down."""

    INITIAL = 0
    STARTED = 1
    SHUTDOWN = 2


@public("managers")
class BaseManager:
    """Makes objects in a server process, and proxies for them here.

    Args:
        address: where the server listens; None for a Unix socket of its own.
        authkey: what both sides must prove to know; this process's key, unless given.
        serializer: "pickle" or "xmlrpclib".
        ctx: a context; the default one, unless given.
        shutdown_timeout: seconds that the server has to end before it is terminated, and then killed.
        ssl: a context of the module `ssl`: a server's for `get_server`, a client's for `connect`.

    The server ends with the process that started it, also when that is killed. What a process refers to in it is let go
    when that process ends, and a lock that it held is unlocked.
    """

    _registry: dict[str, Registered] = {}
    _Server = Server

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        *,
        shutdown_timeout: float = 1.0,
        ssl: SSLContext | None = None,
    ) -> None:
        if serializer not in listener_client:
            raise ValueError(f"unknown serializer {serializer!r}; there are {', '.join(listener_client)}")
        if authkey is None:
            authkey = current_process().authkey
        self._address = address
        self._authkey = AuthenticationString(authkey)
        self._state = State.INITIAL
        self._serializer = serializer
        self._process_class = Process if ctx is None else ctx.Process
        self._shutdown_timeout = shutdown_timeout
        self._tls = ssl
        self._process: Any = None

    # -- the server ------------------------------------------------------------------------------------------------

    def _check_initial(self) -> None:
        if self._state == State.STARTED:
            raise ProcessError("Already started server: Manager() and `with` have started it, or start() has")
        if self._state == State.SHUTDOWN:
            raise ProcessError("Manager has shut down: make another one")

    def get_server(self) -> Server:
        """Return a server object for this process; its `serve_forever` runs it."""
        self._check_initial()
        return self._Server(self._registry, self._address, bytes(self._authkey), self._serializer, self._tls)

    def connect(self) -> None:
        """Connect to the server at the address. Raises OSError and AuthenticationError."""
        self._state = State.STARTED
        self._ask("dummy")

    def start(self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()) -> None:
        """Start the server process.

        Raises ProcessError if it was started, and what made the server end before it listened.
        """
        self._check_initial()
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, and not {initializer!r}")
        if self._tls is not None:
            raise ValueError("start() makes a server for this machine: ssl= is for get_server() and connect()")
        with HeldBack():
            self._start(initializer, initargs)

    def _start(self, initializer: Callable[..., object] | None, initargs: Iterable[Any]) -> None:
        reader, writer = plain_pipe(duplex=False)
        server_args = (
            _MadeThere(type(self), self._Server, self._registry),
            self._address,
            self._authkey,
            self._serializer,
            writer,
        )
        args = (*server_args, initializer, tuple(initargs))
        self._process = process = self._process_class(target=_serve, args=args)
        process.name = f"{type(self).__name__}-{':'.join(map(str, process._identity))}"
        process.daemon = True  # it ends with us, also when we are killed
        try:
            process.start()
            writer.close()
            try:
                with Heard():
                    self._address = reader.recv()
            except EOFError:
                process.join()
                raise process.exception() or ProcessError("the server ended before it listened") from None
            except BaseException:
                process.kill()
                process.join()
                raise
        finally:
            writer.close()
            reader.close()
        self._state = State.STARTED
        self.shutdown: Finalize = _Shutdown(
            self,
            _finalize,
            args=(
                process,
                self._address,
                bytes(self._authkey),
                self._serializer,
                self._shutdown_timeout,
                self.__dict__,
            ),
            exitpriority=0,
        )

    def join(self, timeout: float | None = None) -> None:
        """Wait for the server process's end, up to `timeout` seconds."""
        if self._process is not None:
            self._process.join(timeout)
            if not self._process.is_alive():
                self._process = None

    @property
    def address(self) -> Any:
        """The address of the server."""
        return self._address

    def __enter__(self) -> Self:
        if self._state == State.INITIAL:
            self.start()
        assert self._state == State.STARTED, "Manager has shut down: make another one"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.shutdown()

    # -- objects ---------------------------------------------------------------------------------------------------

    def _link(self) -> Link:
        return links.to(self._address, self._serializer, bytes(self._authkey), self._tls)

    def _ask(self, function: str, *args: Any, **kwds: Any) -> Any:
        return answer_of(*self._link().ask((None, function, args, kwds)))

    def _create(self, typeid: str, /, *args: Any, **kwds: Any) -> tuple[Token, Any]:
        """Make an object in the server; return its token and its methods. This process refers to it."""
        assert self._state == State.STARTED, self._why_not()
        ident, exposed = self._ask("create", typeid, *args, **kwds)
        return Token(typeid, self._address, ident), exposed

    def __getattr__(self, name: str) -> Any:
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        if name == "shutdown":
            text = f"{text}: server not yet started; call start() first, or write `with manager:`"
        elif not name.startswith("_"):
            text = (
                f"{text}: what a manager makes has to be registered, by {type(self).__name__}.register({name!r}, ...)"
            )
        raise AttributeError(text, name=name, obj=self)

    def _why_not(self) -> str:
        if self._state == State.INITIAL:
            return "server not yet started: call start() first, or write `with manager:`"
        return "server not yet started: it has been shut down; its objects are gone"

    def _debug_info(self) -> str:
        """Describe the server's objects."""
        self._link().anchor.sync()
        text: str = self._ask("debug_info")
        return text

    def _number_of_objects(self) -> int:
        """Return how many objects the server has."""
        self._link().anchor.sync()
        number: int = self._ask("number_of_objects")
        return number

    @classmethod
    def register(
        cls,
        typeid: str,
        callable: Callable[..., Any] | None = None,
        proxytype: Any = None,
        exposed: Any = None,
        method_to_typeid: dict[str, str] | None = None,
        create_method: bool = True,
    ) -> None:
        """Register a type of shared objects; see the standard library's `BaseManager.register`."""
        if "_registry" not in cls.__dict__:
            cls._registry = cls._registry.copy()
        proxytype = AutoProxy if proxytype is None else proxytype
        exposed = exposed or getattr(proxytype, "_exposed_", None)
        method_to_typeid = method_to_typeid or getattr(proxytype, "_method_to_typeid_", None)
        for key, value in (method_to_typeid or {}).items():
            assert type(key) is str, f"{key!r} is not a string"
            assert type(value) is str, f"{value!r} is not a string"
        cls._registry[typeid] = (callable, exposed, method_to_typeid, proxytype)
        if create_method:
            setattr(cls, typeid, _creating(typeid, proxytype))


class _MadeThere:
    """What a server makes, and of which class it is, on the way to it: what a class of ours has is found where it is.

    By their names the classes would be looked for in the public modules, which load everything.
    """

    def __init__(self, manager: type[BaseManager], server: type[Server], registry: dict[str, Registered]) -> None:
        self.server = server
        self.registry = registry
        self._ours = next(kind for kind in manager.__mro__ if kind in shown.homes)

    def __reduce__(self) -> tuple[Any, ...]:
        known = _registered_by_us[self._ours]
        added = {name: entry for name, entry in self.registry.items() if known.get(name) is not entry}
        missing = known.keys() - self.registry.keys()
        home = shown.homes.get(self.server)
        return _made_there, (shown.homes[self._ours][0], self.server if home is None else home[0], added, missing)


def _made_there(ours: str, server: type[Server] | str, added: dict[str, Registered], missing: set[str]) -> _MadeThere:
    manager: type[BaseManager] = of_kind(ours)
    registry = {name: entry for name, entry in _registered_by_us[manager].items() if name not in missing}
    return _MadeThere(manager, of_kind(server), registry | added)


def _serve(found: _MadeThere, *server_args: Any) -> None:
    run_server(found.server, found.registry, *server_args)


def _creating(typeid: str, proxytype: Any) -> Callable[..., Any]:
    def create(self: BaseManager, /, *args: Any, **kwds: Any) -> Any:
        log.debug("requesting creation of a shared %r object", typeid)
        token, exposed = self._create(typeid, *args, **kwds)
        # The server counts the reference as this process's already.
        return proxytype(token, self._serializer, manager=self, authkey=self._authkey, exposed=exposed, incref=False)

    create.__name__ = create.__qualname__ = typeid
    return create


class _Shutdown(Finalize):
    """Ends the server. A Ctrl-C meanwhile ends it at once: nobody can ask for that again."""

    def __call__(self, wr: object = None) -> Any:
        with HeldBack():
            return super().__call__(wr)


def _finalize(
    process: Any, address: Any, authkey: bytes, serializer: str, timeout: float, manager: dict[str, Any]
) -> None:
    """Ask the server to end, and wait for it; terminate, and kill it, if it does not."""
    try:
        with Heard():
            if process.is_alive():
                _end(process, links.to(address, serializer, authkey), timeout)
    except BaseException:
        process.kill()
        process.join()
        raise
    finally:
        links.forget(address, serializer)
        manager["_state"] = State.SHUTDOWN


def _end(process: Any, link: Link, timeout: float) -> None:
    try:
        link.ask((None, "shutdown", (), {}))
    except (OSError, EOFError, ProcessError):  # it ends already
        pass
    process.join(timeout)
    if process.is_alive():
        log.info("the manager's server is still there: it is terminated")
        process.terminate()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()


# Value: what a manager makes for one value of any type.


@public("managers")
class Value:
    """One value, of any type."""

    def __init__(self, typecode: Any, value: Any, lock: bool = True) -> None:
        self._typecode = typecode
        self._value = value

    def get(self) -> Any:
        """Return it."""
        return self._value

    def set(self, value: Any) -> None:
        """Set it."""
        self._value = value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._typecode!r}, {self._value!r})"

    value: Any = property(get, set)


# SyncManager: a manager of the types that programs share most.


@public("managers")
class SyncManager(BaseManager):
    """Makes queues, locks, lists, dictionaries and other objects in a server process."""

    if TYPE_CHECKING:  # what `register` makes of the table below

        def Queue(self, maxsize: int = 0) -> queue.Queue[Any]: ...
        def JoinableQueue(self, maxsize: int = 0) -> queue.Queue[Any]: ...
        def Event(self) -> EventProxy: ...
        def Lock(self) -> AcquirerProxy: ...
        def RLock(self) -> AcquirerProxy: ...
        def Semaphore(self, value: int = 1) -> AcquirerProxy: ...
        def BoundedSemaphore(self, value: int = 1) -> AcquirerProxy: ...
        def Condition(self, lock: AcquirerProxy | None = None) -> ConditionProxy: ...
        def Barrier(
            self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
        ) -> BarrierProxy: ...
        def Pool(
            self,
            processes: int | None = None,
            initializer: Callable[..., object] | None = None,
            initargs: Iterable[Any] = (),
            maxtasksperchild: int | None = None,
        ) -> PoolProxy: ...
        def Value(self, typecode: Any, value: T, lock: bool = True) -> ValueProxy[T]: ...
        def Array(self, typecode: Any, sequence: Sequence[Any], lock: bool = True) -> ArrayProxy: ...
        def Namespace(self, /, **kwds: Any) -> NamespaceProxy: ...
        @overload
        def list(self) -> ListProxy[Any]: ...
        @overload
        def list(self, items: Iterable[T], /) -> ListProxy[T]: ...
        def list(self, *items: Any) -> ListProxy[Any]: ...
        @overload
        def dict(self, **items: T) -> DictProxy[str, T]: ...
        @overload
        def dict(self, items: Mapping[K, T], /) -> DictProxy[K, T]: ...
        @overload
        def dict(self, items: Iterable[tuple[K, T]], /) -> DictProxy[K, T]: ...
        def dict(self, *items: Any, **named: Any) -> DictProxy[Any, Any]: ...
        @overload
        def set(self) -> SetProxy[Any]: ...
        @overload
        def set(self, items: Iterable[T], /) -> SetProxy[T]: ...
        def set(self, *items: Any) -> SetProxy[Any]: ...


def _pool(*args: Any, **kwds: Any) -> Any:
    """Return a pool: a server that makes none loads none."""
    from polyproc._pool.pool import Pool

    return Pool(*args, **kwds)


class _Now:
    """Makes what a module makes now by a name: it may have been replaced since this was imported (see greenlets.py)."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *args: Any, **kwds: Any) -> Any:
        return getattr(sys.modules[self._module], self._name)(*args, **kwds)


_TYPES: tuple[tuple[str, Any, Any], ...] = (
    ("Queue", _Now("queue", "Queue"), None),
    ("JoinableQueue", _Now("queue", "Queue"), None),
    ("Event", _Now("threading", "Event"), EventProxy),
    ("Lock", _Now("threading", "Lock"), AcquirerProxy),
    ("RLock", _Now("threading", "RLock"), AcquirerProxy),
    ("Semaphore", _Now("threading", "Semaphore"), AcquirerProxy),
    ("BoundedSemaphore", _Now("threading", "BoundedSemaphore"), AcquirerProxy),
    ("Condition", _Now("threading", "Condition"), ConditionProxy),
    ("Barrier", _Now("threading", "Barrier"), BarrierProxy),
    ("Pool", _pool, PoolProxy),
    ("list", list, ListProxy),
    ("dict", dict, DictProxy),
    ("set", set, SetProxy),
    ("Value", Value, ValueProxy),
    ("Array", Array, ArrayProxy),
    ("Namespace", Namespace, NamespaceProxy),
)

for _typeid, _callable, _proxy in _TYPES:
    SyncManager.register(_typeid, _callable, _proxy)

# What methods return, and nobody asks for by name.
SyncManager.register("Iterator", proxytype=IteratorProxy, create_method=False)
SyncManager.register("AsyncResult", create_method=False)


# Managers that make named segments, and remove all of them when they shut down.


@public("managers")
class SharedMemoryServer(Server):
    """A server that knows the names of segments, and removes them when it ends."""

    public: tuple[str, ...] = (*Server.public, "track_segment")

    def __init__(self, *args: Any, **kwds: Any) -> None:
        super().__init__(*args, **kwds)
        self._segments: set[str] = set()

    def track_segment(self, name: str, segment_name: str) -> None:
        """Remove a segment at the end."""
        with self.mutex:
            self._segments.add(segment_name)

    def shutdown(self, name: str) -> None:
        """Remove all segments, and end the server."""
        with self.mutex:
            segments, self._segments = self._segments, set()
        for segment in segments:
            _remove(segment)
        super().shutdown(name)


def _remove(name: str) -> None:
    from polyproc._memory.segment import SharedMemory

    try:
        segment = SharedMemory(name)
    except FileNotFoundError:  # somebody has removed it
        return
    segment.close()
    segment.unlink()


@public("managers")
class SharedMemoryManager(BaseManager):
    """Makes `SharedMemory` and `ShareableList` objects; their segments are removed when it shuts down."""

    _Server = SharedMemoryServer

    def SharedMemory(self, size: int) -> Segment:
        """Return a new segment of `size` bytes."""
        from polyproc._memory.segment import SharedMemory

        self._check_started()
        segment = SharedMemory(None, create=True, size=size)
        self._track(segment)
        return segment

    def ShareableList(self, sequence: Iterable[Any]) -> SegmentList:
        """Return a new list in a segment."""
        from polyproc._memory.segment import ShareableList

        self._check_started()
        made = ShareableList(sequence)
        self._track(made.shm)
        return made

    def _check_started(self) -> None:
        if self._state != State.STARTED:
            raise ValueError("the manager's server is not started, or has been shut down")

    def _track(self, segment: Segment) -> None:
        try:
            self._ask("track_segment", segment.name)
        except BaseException:
            segment.unlink()
            raise


# What each class has before a program registers anything: the same in every process.
_registered_by_us: dict[type[Any], dict[str, Registered]] = {
    kind: kind._registry.copy() for kind in (BaseManager, SyncManager, SharedMemoryManager)
}
