"""A Pipe that is two queues, and a Listener that is one."""

from __future__ import annotations

from queue import Queue
from types import TracebackType

from polyproc._base.modules import public
from polyproc._base.typing import Any, Callable

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
        """What a client needs."""
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
