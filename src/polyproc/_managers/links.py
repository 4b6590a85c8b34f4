"""The connections of this process to managers' servers: one for each thread that calls, and one anchor for each server.

A call and its answer have a connection for themselves. References are dropped through the anchor, from wherever the
garbage collector runs: also in the middle of a call, or of another such message.

A call that is interrupted before its answer is read, by the exception of a signal's handler, is called off: the server
sees that more comes over the connection while it owes an answer, and waits no longer. What it had answered already is
read, and undone where it can be, before anything else is asked. The connection stays: to it is tied what the thread
holds.
"""

from __future__ import annotations

import collections
import itertools
import os
import threading
import time
import weakref
from itertools import starmap

from polyproc._base.errors import RemoteError
from polyproc._base.modules import Remade, public
from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING, Any, Callable
from polyproc._cleanup import Finalize
from polyproc._connection.connection import Connection
from polyproc._connection.listener import Client, Listener, XmlClient, XmlListener
from polyproc._pickling.diagnosis import in_callers_words
from polyproc._pickling.pickler import loads
from polyproc._platform.handles import AT_ONCE, Local, due
from polyproc._platform.posix import HAVE_FORK

if TYPE_CHECKING:
    from ssl import SSLContext

_HAS_CORE = bool(native)

# Tokens and messages: what a proxy and its server say to each other.
#
#     calls:   (object or None, method, args, kwargs)  ->  (kind, value)
#     anchor:  (what, of what)                             no answer, but to "sync"
#
# The first message of a connection says which of the two it is, and for which process. A process has one anchor at a
# server: it holds the process's references. When it ends, whatever way, they are dropped.

CALLS, ANCHOR = "calls", "anchor"
RETURN, PROXY, ERROR, TRACEBACK, UNSERIALIZABLE = "#RETURN", "#PROXY", "#ERROR", "#TRACEBACK", "#UNSERIALIZABLE"
DECREF, LEND, INHERIT, SYNC, BYE = "decref", "lend", "inherit", "sync", "bye"
JOIN = "join"  # a request: from now on messages are handed over in shared memory, too
HERE = "here"  # a request: its answer is its argument; the one before it, if that waits, is called off


@public("managers")
class Token(Remade):
    """The name of a shared object: its type's, its server's address, and its own there."""

    __slots__ = ("address", "id", "passage", "typeid")

    def __init__(self, typeid: str, address: Any, id: str, passage: str | None = None) -> None:
        self.typeid: str = typeid
        self.address: Any = address
        self.id: str = id
        self.passage: str | None = passage  # names its way to another process, at whose end it is None again

    def __getstate__(self) -> tuple[str, Any, str, str | None]:
        return self.typeid, self.address, self.id, self.passage

    def __setstate__(self, state: tuple[str, Any, str, str | None]) -> None:
        self.typeid, self.address, self.id, self.passage = state

    def __repr__(self) -> str:
        return f"{type(self).__name__}(typeid={self.typeid!r}, address={self.address!r}, id={self.id!r})"


def dispatch(c: Any, id: str | None, methodname: str | None, args: Any = (), kwds: Any = {}) -> Any:  # noqa: B006
    """Ask over a connection; return the answer or raise what it says."""
    c.send((id, methodname, args, kwds))
    return answer_of(*c.recv())


def answer_of(kind: str, result: Any) -> Any:
    """Return what an answer says, or raise it."""
    if kind == RETURN:
        return result
    error = convert_to_error(kind, result)
    try:
        raise error
    finally:
        del error, result  # else the traceback and this frame would keep each other


def convert_to_error(kind: str, result: Any) -> BaseException:
    """Return the exception that an answer stands for."""
    if kind == ERROR:
        if isinstance(result, BaseException):
            return result
        return TypeError(f"Result {result!r} (kind '{kind}') type is {type(result)}, not an exception")
    if kind in (TRACEBACK, UNSERIALIZABLE):
        if not isinstance(result, str):
            return TypeError(f"Result {result!r} (kind '{kind}') type is {type(result)}, not str")
        return RemoteError(result if kind == TRACEBACK else f"Unserializable message: {result}\n")
    return ValueError(f"Unrecognized message type {kind!r}")


def all_methods(obj: object) -> list[str]:
    """Return the names of an object's methods."""
    return [name for name in dir(obj) if callable(getattr(obj, name))]


def public_methods(obj: object) -> list[str]:
    """Return those that do not begin with an underscore."""
    return [name for name in all_methods(obj) if name[0] != "_"]


# The servers that this process has, by address, beside the one that it may be: of remote contexts (_hosts).
servers_here: dict[Any, Any] = {}

# How a serializer's name leads to what listens and what connects.
listener_client: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "pickle": (Listener, Client),
    "xmlrpclib": (XmlListener, XmlClient),
}
_LATE = -100  # a priority of finalizers: after the user's
GONE = "the manager's server is not there: it was shut down, its process has ended, or it was never started"
_MANY = 64  # calls over a connection, after which it is worth while to share memory with the server
_SETTLED = 0.5  # seconds that an interrupted call waits at most until the server has called it off


def _say_in_callers_words(error: BaseException, is_making: bool) -> None:
    """Name the parts of a request as the caller knows them: it is (object or None, method, args, kwargs)."""
    words = [(rf"obj\[2\]\[{index}\]", f"args[{index - 1}]") for index in range(1, 10)] if is_making else []
    in_callers_words(error, *words, (r"obj\[2\]", "args"), (r"obj\[3\]", "kwargs"))


class Anchor:
    """This process's hold on a server's objects."""

    def __init__(self, connect: Callable[[str], Any]) -> None:
        self._connection = connect(ANCHOR)
        self._lock = threading.Lock()
        self._unsent: collections.deque[tuple[str, Any]] = collections.deque()
        self._numbers = itertools.count()

    def say(self, what: str, ident: Any) -> None:
        """Send a message, now or after those that another thread, or this one below us, is sending. Never waits."""
        self._unsent.append((what, ident))
        self._send_if_free()

    def _send_if_free(self) -> None:
        while self._unsent:
            turn = [*starmap(self._lock.acquire, AT_ONCE)]
            try:
                if not turn[0]:
                    return
                self._send_all()
            finally:
                if turn[0]:
                    self._lock.release()

    def _send_all(self) -> None:
        try:
            while self._unsent:
                self._connection.send(self._unsent.popleft())
        except OSError:  # the server is gone, and its objects with it
            self._unsent.clear()

    def sync(self) -> None:
        """Wait until the server has done all that was said."""
        number = str(next(self._numbers))
        with self._lock:
            self._unsent.append((SYNC, number))
            self._send_all()
            while answer_of(*self._connection.recv()) != number:  # one that an exception kept from being heard
                pass
        self._send_if_free()  # what was said while we waited


class Link:
    """This process's way to a server."""

    def __init__(self, address: Any, serializer: str, authkey: bytes, tls: SSLContext | None) -> None:
        self.address = address
        self._connect = listener_client[serializer][1]
        self.authkey = authkey
        self._tls = tls
        self._ref = weakref.ref(self)
        self.serves_itself = False  # the server is this process's: its objects are kept without an anchor
        self.inherits = False  # what our memory had of its proxies at the fork that made us is counted for us
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        # A thread's connection to the server, and the request whose answer has not been read.
        self._local = Local(connection=None, request=None, calls=0)
        self._anchor: Anchor | None = None
        self._opened: weakref.WeakSet[Any] = weakref.WeakSet()

    def bequeath(self, heir: str) -> None:
        """Tell the server of a child that is about to be forked."""
        if self._anchor is not None:
            self._anchor.say(INHERIT, heir)

    def after_fork_in_child(self, inherits: bool) -> None:
        """Close the parent's connections."""
        self.serves_itself = False
        self.inherits = inherits and self._anchor is not None
        opened = list(self._opened)
        self._begin()
        for connection in opened:  # a thread that was in the middle of a call would keep it: it is not here
            connection.close()

    def _open(self, role: str) -> Any:
        options = {} if self._tls is None else {"ssl": self._tls}
        connection = self._connect(self.address, authkey=self.authkey, **options)
        self._opened.add(connection)
        connection.send((role, links.name))
        return connection

    @property
    def anchor(self) -> Anchor:
        """The anchor, made on first use."""
        anchor = self._anchor
        if anchor is None:
            with self._lock:
                if self._anchor is None:
                    self._anchor = Anchor(self._open)
                    links.leave_at_exit()
                anchor = self._anchor
        return anchor

    def _connected(self) -> Any:
        if self._anchor is None and not self.serves_itself:
            self.anchor.sync()  # what is created is this process's from the first moment on
        return self._open(CALLS)

    @property
    def connection(self) -> Any:
        """This thread's connection, if it has one and owes nothing to the answer of another call."""
        own = self._local()
        if own.request is not None:
            return None
        if own.connection is not None and own.connection.closed:  # a Ctrl-C has come in the middle of a message
            own.connection = None
        return own.connection

    def ask(self, request: tuple[Any, ...]) -> Any:
        """Send a request over this thread's connection; return the answer.

        Raises OSError and EOFError when the server is gone. Whatever interrupts it, the next call is not harmed.
        """
        own = self._local()
        if own.request is not None:
            self._call_off(own, None)
        connection = own.connection
        if connection is None:
            try:
                connection = own.connection = self._connected()
                own.calls = 0
            except (OSError, EOFError) as error:
                error.add_note(GONE)
                raise
        own.calls += 1
        if own.calls == _MANY:
            self._share_memory(connection)
        links.answering().link = self._ref
        own.request = request
        try:
            is_plain = _HAS_CORE and type(connection) is Connection
            if is_plain:
                data = connection._exchange(request)
            else:  # one that sends in a way of its own
                connection.send(request)
                data = connection.recv_bytes()
        except BaseException as error:
            self._call_off(own, _SETTLED)
            if isinstance(error, OSError | EOFError):
                error.add_note(GONE)
            else:
                _say_in_callers_words(error, is_making=request[1] == "create")
            raise
        own.request = None  # before it is opened: proxies in it ask, too
        return loads(data) if is_plain else getattr(connection, "_loads", loads)(data)

    def _share_memory(self, connection: Any) -> None:
        """Let this thread's connection hand messages over without the kernel, if the server is on this machine."""
        is_local = isinstance(self.address, str) and self._tls is None and type(connection) is Connection
        if not native or not is_local or connection._where() is not None:
            return
        from polyproc._pickling.chunk import where

        try:
            made: Connection[Any, Any]
            [made] = map(Connection, map(os.dup, (connection.fileno(),)))  # one step: a Ctrl-C comes before or after it
            with made:  # what the server is told of, before it is used
                made._meet(None, 2)
                kind, _ = self.ask((None, JOIN, (where(made), made._side() | 1), {}))
                place = made._where()
                if kind == RETURN and place is not None:
                    connection._join(*place, made._side())
        except OSError:  # no memory, or no descriptors, are left
            pass

    def _call_off(self, own: Any, timeout: float | None) -> None:
        """Read all that comes before the answer to a request of our own, up to `timeout` seconds; the rest later."""
        connection, token = own.connection, os.urandom(8).hex()
        if connection is None:  # a call of something in the request has been interrupted
            return
        deadline = None if timeout is None else due(timeout)
        try:
            connection.send((None, HERE, (token,), {}))
            while connection.poll(None if deadline is None else max(deadline - time.monotonic(), 0.0)):
                kind, value = getattr(connection, "_loads", loads)(connection.recv_bytes())
                if own.request is None or (kind == RETURN and value == token):  # proxies in it may have read all
                    own.request = None
                    return
                if self._undo(connection, own.request, kind, value):
                    connection.send((None, HERE, (token := os.urandom(8).hex(),), {}))
        except (OSError, EOFError):  # the server is gone, or the interruption was in the middle of a message
            own.connection = own.request = None
            connection.close()

    def _undo(self, connection: Any, request: tuple[Any, ...], kind: str, value: Any) -> bool:
        """Give back what an answer that nobody reads has brought; return whether a request was sent for it."""
        ident, method, _, _ = request
        if kind == PROXY:
            self.drop(value[1].id)
        elif kind == RETURN and ident is None and method == "create":
            self.drop(value[0])
        elif kind == RETURN and method == "acquire" and value is True:
            connection.send((ident, "release", (), {}))
            return True
        return False

    def over(self, own: Any, function: Callable[[], Any]) -> Any:
        """Call a function whose requests go over a task's connection, not this thread's own (async_proxy.py)."""
        own.open(self._connected)
        local = self._local()
        local.connection = own.connection
        try:
            return function()
        finally:
            if local.request is not None:  # it could not be called off in time
                local.connection.close()
                local.connection = local.request = None
            own.connection, local.connection = local.connection, None

    def drop(self, ident: str) -> None:
        """Give back a reference."""
        if self._anchor is not None:
            self._anchor.say(DECREF, ident)

    def leave(self) -> None:
        """Tell the servers, at the end of this process, that it ends in good order: its locks stay locked."""
        settle = getattr(self.connection, "settle", None)
        if settle is not None:  # what was sent and not answered
            settle()
        if self._anchor is not None:
            self._anchor.say(BYE, "")
            try:
                self._anchor.sync()
            except (OSError, EOFError):  # the server has ended
                pass

    def lend(self, ident: str, passage: str) -> None:
        """Keep an object for a while: its token is on its way to another process."""
        if self._anchor is not None:
            self._anchor.say(LEND, (ident, passage))


def _no_link() -> None:
    return None


class Links:
    """The links of this process. One instance, `links`."""

    def __init__(self) -> None:
        self.name = ""
        # The link whose answer this thread waits for, or waited for last.
        self.answering = Local(link=staticmethod(_no_link))
        self._passages = itertools.count()
        self._pid = 0
        self._leaves = 0  # the process that will say good-bye at its end
        self._heirs: dict[int, str] = {}  # names of children that threads are about to fork
        self._links: dict[tuple[Any, str], Link] = {}

    def to(self, address: Any, serializer: str, authkey: bytes, tls: SSLContext | None = None) -> Link:
        """Return the link to the server at an address; a forked child does not use its parent's connections."""
        self.check()
        key = _key(address, serializer)
        link = self._links.get(key)
        if link is None or link.authkey != authkey:
            link = self._links[key] = Link(key[0], serializer, authkey, tls)
        return link

    def known(self, address: Any, serializer: str) -> Link | None:
        """Return the link to the server at an address, if there is one."""
        self.check()
        return self._links.get(_key(address, serializer))

    def check(self) -> None:
        """Notice that this is another process than before."""
        if not self._pid:
            self._be(_new_name(), False)
            if HAVE_FORK:
                os.register_at_fork(
                    before=self._before_fork,
                    after_in_parent=self._after_fork_in_parent,
                    after_in_child=self._after_fork_in_child,
                )
        elif self._pid != os.getpid():
            self._be(_new_name(), False)

    def _be(self, name: str, inherits: bool) -> None:
        self._pid = os.getpid()
        self.name = name
        self._heirs = {}
        for link in self._links.values():
            link.after_fork_in_child(inherits)

    def _before_fork(self) -> None:
        if self._pid == os.getpid():
            self._heirs[threading.get_ident()] = heir = _new_name()
            for link in list(self._links.values()):
                link.bequeath(heir)

    def _after_fork_in_parent(self) -> None:
        self._heirs.pop(threading.get_ident(), None)

    def _after_fork_in_child(self) -> None:
        heir = self._heirs.get(threading.get_ident())
        self._be(heir or _new_name(), heir is not None)

    def new_passage(self) -> str:
        """Return a name for a token's way to another process."""
        self.check()
        return f"{self.name}-{next(self._passages)}"

    def leave_at_exit(self) -> None:
        """Tell the server of this process's end, when it comes."""
        if self._leaves != os.getpid():
            self._leaves = os.getpid()
            Finalize(None, self._leave, exitpriority=_LATE)

    def _leave(self) -> None:
        for link in list(self._links.values()):
            link.leave()

    def forget(self, address: Any, serializer: str) -> None:
        """Close the connections to a server: it has ended, and another may come to its address."""
        self._links.pop(_key(address, serializer), None)


def _key(address: Any, serializer: str) -> tuple[Any, str]:
    return (tuple(address) if isinstance(address, list) else address, serializer)


def _new_name() -> str:
    return f"{os.getpid()}-{os.urandom(8).hex()}"


links = Links()
