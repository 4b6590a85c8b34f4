"""The names of this library on threads, in place of processes: what `polyproc.dummy` has."""

from __future__ import annotations

import array
import sys
import threading
import weakref
from collections.abc import Mapping
from queue import Queue
from types import TracebackType

from polyproc._base.modules import public
from polyproc._base.typing import Any, Callable, Iterable, Sequence


@public("dummy")
class DummyProcess(threading.Thread):
    """The interface of Process, on a thread."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., Any] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] = {},
    ) -> None:
        super().__init__(group, target, name, tuple(args), dict(kwargs))
        self._pid = None
        self._children: weakref.WeakKeyDictionary[DummyProcess, None] = weakref.WeakKeyDictionary()
        self._start_called = False
        self._parent = current_process()

    def start(self) -> None:
        """Start the thread; only from the one that made this object."""
        if self._parent is not current_process():
            raise RuntimeError(f"Parent is {self._parent!r} but current_process is {current_process()!r}")
        self._start_called = True
        if hasattr(self._parent, "_children"):
            self._parent._children[self] = None
        super().start()

    @property
    def exitcode(self) -> int | None:
        """0 when it has ended, else None."""
        return 0 if self._start_called and not self.is_alive() else None


Process = DummyProcess


def current_process() -> Any:
    """Return the thread that calls."""
    return threading.current_thread()


def active_children() -> list[Any]:
    """Return the threads that the calling one has started and that run."""
    children = current_process().__dict__.setdefault("_children", weakref.WeakKeyDictionary())
    for child in list(children):
        if not child.is_alive():
            children.pop(child, None)
    return list(children)


def freeze_support() -> None:
    """Do nothing: threads need no executable."""


# A Pipe that is two queues, and a Listener that is one.


families: list[None] = [None]


@public("dummy.connection")
class Connection:
    """One end of a pipe between threads."""

    def __init__(self, _in: Queue[Any], _out: Queue[Any]) -> None:
        self._in = _in
        self._out = _out
        self.send: Callable[..., None] = _out.put
        self.send_bytes: Callable[..., None] = _out.put
        self.recv: Callable[..., Any] = _in.get
        self.recv_bytes: Callable[..., Any] = _in.get

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether something can be received, waiting up to `timeout` seconds."""
        if self._in.qsize() > 0:
            return True
        if timeout is not None and timeout <= 0.0:
            return False
        with self._in.not_empty:
            self._in.not_empty.wait(timeout)
        return self._in.qsize() > 0

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Return two connected ends."""
    first: Queue[Any] = Queue()
    second: Queue[Any] = Queue()
    return Connection(first, second), Connection(second, first)


@public("dummy.connection")
class Listener:
    """Accepts connections of other threads; its address is itself a queue."""

    def __init__(self, address: Any = None, family: Any = None, backlog: int = 1) -> None:
        self._backlog_queue: Queue[Any] | None = Queue(backlog)

    def accept(self) -> Connection:
        """Wait for a client."""
        assert self._backlog_queue is not None, "listener is closed"
        return Connection(*self._backlog_queue.get())

    def close(self) -> None:
        """Accept no more."""
        self._backlog_queue = None

    @property
    def address(self) -> Any:
        """The address, for a client."""
        return self._backlog_queue

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def Client(address: Any) -> Connection:
    """Connect to a listener."""
    _in: Queue[Any] = Queue()
    _out: Queue[Any] = Queue()
    address.put((_out, _in))
    return Connection(_in, _out)


# A manager for threads: nothing has to be shared, so it is the module itself that makes plain objects.


@public("dummy")
class Value:
    """One value."""

    def __init__(self, typecode: Any, value: Any, lock: bool = True) -> None:
        self._typecode = typecode
        self._value = value

    @property
    def value(self) -> Any:
        """The value."""
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._typecode!r}, {self._value!r})>"


@public("dummy")
class Namespace:
    """Attributes, and nothing else."""

    def __init__(self, /, **kwds: Any) -> None:
        self.__dict__.update(kwds)

    def __repr__(self) -> str:
        items = sorted(f"{name}={value!r}" for name, value in self.__dict__.items() if not name.startswith("_"))
        return f"{type(self).__name__}({', '.join(items)})"


def Array(typecode: str, sequence: Sequence[Any], lock: bool = True) -> array.array[Any]:
    """Return an array."""
    return array.array(typecode, sequence)


def Manager() -> Any:
    """Return the module: it has the methods of a manager."""
    return sys.modules["polyproc.dummy"]


def shutdown() -> None:
    """Do nothing."""
