"""The server of a manager: objects, who refers to them, and a thread for each connection that has proved the key."""

from __future__ import annotations

import collections
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, ItemsView, KeysView, ValuesView
from typing import Any

from polyproc._errors import AuthenticationError, TimeoutError
from polyproc._log import log
from polyproc._managers.held import ACQUIRED, Client, ClientGone, Holdings, get, put_back
from polyproc._managers.links import listener_client
from polyproc._managers.tokens import (
    BYE,
    CALLS,
    DECREF,
    ERROR,
    LEND,
    PROXY,
    RETURN,
    TRACEBACK,
    UNSERIALIZABLE,
    Token,
    public_methods,
)
from polyproc._pickling.exceptions import reason_of, sendable
from polyproc._pool.worker import ExceptionWithTraceback
from polyproc._process.process import current_process

# How long an object stays whose token is on its way to a process that has not said that it has it.
LENT = 30.0
_TICK = 0.5

# callable, exposed methods, types of what methods return, proxy type
Registered = tuple[Callable[..., Any] | None, Any, dict[str, str] | None, Any]


class Entry:
    """An object, and who refers to it."""

    def __init__(self, obj: Any, exposed: Any, method_to_typeid: dict[str, str] | None) -> None:
        self.obj = obj
        self.exposed = frozenset(exposed)
        self.may_block = isinstance(obj, (*ACQUIRED, queue.Queue, threading.Event))
        self.method_to_typeid = method_to_typeid or {}
        self.references: collections.Counter[str] = collections.Counter()
        self.lent = 0  # tokens on their way; an arrival may be seen before its departure
        self.lent_until = 0.0

    def lend(self, now: float) -> None:
        """Have it stay until somebody has what is on its way, but not for ever."""
        self.lent += 1
        self.lent_until = now + LENT

    def arrived(self) -> None:
        """Note that somebody has what was on its way."""
        self.lent = max(self.lent - 1, -1)


class Fate:
    """How a client process ended, once it has: its anchor tells. One that says good-bye has not died."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.died = True
        self.left: list[Client] = []  # connections that ended before, with locks that they held


class Server:
    """A listening server. `serve_forever` runs it; each connection is served by a thread of its own."""

    public: tuple[str, ...] = (
        "shutdown",
        "create",
        "incref",
        "get_methods",
        "number_of_objects",
        "debug_info",
        "dummy",
    )

    def __init__(
        self, registry: dict[str, Registered], address: Any, authkey: bytes, serializer: str, tls: Any = None
    ) -> None:
        if not isinstance(authkey, bytes):
            raise TypeError(f"Authkey {authkey!r} is type {type(authkey)!s}, not bytes")
        self.registry = registry
        self._serializer = serializer
        options = {} if tls is None else {"ssl": tls}
        self.listener = listener_client[serializer][0](address=address, backlog=128, authkey=authkey, **options)
        self.address = self.listener.address
        self.id_to_obj: dict[str, Entry] = {}
        self.mutex = threading.RLock()
        self.stop_event = threading.Event()
        self._holdings = Holdings()
        self._fates: dict[str, Fate] = {}

    def serve_forever(self) -> None:
        """Serve until told to shut down; then end this process."""
        current_process()._manager_server = self  # type: ignore[attr-defined]
        accepter = threading.Thread(target=self._accept, name="polyproc-manager", daemon=True)
        accepter.start()
        try:
            while not self.stop_event.wait(_TICK):
                self._sweep()
        except (KeyboardInterrupt, SystemExit):
            pass
        finally:
            if sys.stdout is not sys.__stdout__:
                sys.stdout = sys.__stdout__
                sys.stderr = sys.__stderr__
            self.listener.close()
            sys.exit(0)

    def _accept(self) -> None:
        while not self.stop_event.is_set():
            try:
                connection = self.listener.accept()
            except (AuthenticationError, TimeoutError, EOFError):
                continue
            except OSError:
                if self.stop_event.is_set():
                    return
                time.sleep(0.01)  # no descriptors left: they come back
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()

    # -- one connection --------------------------------------------------------------------------------------------

    def _serve(self, connection: Any) -> None:
        threading.current_thread().name = "polyproc-manager-client"
        try:
            role, name = connection.recv()
            if role == CALLS:
                self._serve_calls(connection, name)
            else:
                self._serve_anchor(connection, name)
        except (EOFError, OSError, ClientGone):
            pass
        except Exception:  # noqa: BLE001  (a peer that says nonsense ends its own connection)
            log.info("a client of the manager said nonsense:\n%s", traceback.format_exc())
        finally:
            connection.close()

    def _serve_anchor(self, connection: Any, name: str) -> None:
        fate = self._fate(name)
        try:
            while True:
                what, ident = connection.recv()
                if what == DECREF:
                    self._decref(name, ident)
                elif what == LEND:
                    with self.mutex:
                        if ident in self.id_to_obj:
                            self.id_to_obj[ident].lend(time.monotonic())
                elif what == BYE:
                    fate.died = False
                else:
                    connection.send(RETURN)
        finally:
            with self.mutex:
                fate.ended.set()
                self._fates.pop(name, None)
            if fate.died:
                for client in fate.left:  # its threads ended before it did
                    self._holdings.let_go(client)
            self._drop_client(name)

    def _fate(self, name: str) -> Fate:
        with self.mutex:
            return self._fates.setdefault(name, Fate())

    def _serve_calls(self, connection: Any, name: str) -> None:
        client, fate = Client(connection), self._fate(name)
        try:
            while not self.stop_event.is_set():
                try:
                    ident, method, args, kwds = connection.recv()
                except (EOFError, OSError):
                    return
                except Exception:  # noqa: BLE001  (arguments that cannot be opened here)
                    self._answer(client, (TRACEBACK, traceback.format_exc()), None)
                    continue
                entry = None if ident is None else self.id_to_obj.get(ident)
                answer = self._call(client, name, entry, (ident, method, args, kwds))
                taken_from = entry.obj if entry is not None and entry.may_block and method == "get" else None
                self._answer(client, answer, taken_from if answer[0] == RETURN else None)
                del entry, args, kwds, answer, taken_from
        finally:
            if client.held:
                if fate.ended.wait(_TICK) and fate.died:
                    self._holdings.let_go(client)
                else:
                    fate.left.append(client)

    def _answer(self, client: Client, answer: tuple[str, Any], taken_from: Any) -> None:
        try:
            if isinstance(taken_from, queue.Queue) and client.is_gone():
                raise BrokenPipeError
            client.connection.send(answer)
        except OSError:
            if isinstance(taken_from, queue.Queue):
                put_back(taken_from, answer[1])
            raise
        except Exception:  # noqa: BLE001  (a result that cannot be pickled)
            client.connection.send((UNSERIALIZABLE, repr(answer)))

    def _call(self, client: Client, name: str, entry: Entry | None, request: Any) -> tuple[str, Any]:
        ident, method, args, kwds = request
        try:
            if ident is None:
                if method not in self.public:
                    raise AttributeError(f"method {method!r} is not one of a manager's server")
                return RETURN, getattr(self, method)(name, *args, **kwds)
            if entry is None:
                return TRACEBACK, f"KeyError: {ident!r}: the object is gone, or never was\n"
            if method not in entry.exposed:
                return self._call_hidden(entry, ident, method)
            try:
                if entry.may_block:
                    result = self._invoke(client, entry.obj, method, args, kwds)
                else:
                    result = getattr(entry.obj, method)(*args, **kwds)
            except ClientGone:
                raise
            except Exception as error:  # noqa: BLE001  (the caller's)
                return _raised(error)
            typeid = entry.method_to_typeid.get(method)
            if typeid is None:
                return RETURN, list(result) if isinstance(result, KeysView | ValuesView | ItemsView) else result
            created, exposed = self.create(name, typeid, result)
            return PROXY, (exposed, Token(typeid, self.address, created))
        except ClientGone:
            raise
        except Exception:  # noqa: BLE001  (of the server's own)
            return TRACEBACK, traceback.format_exc()

    def _call_hidden(self, entry: Entry, ident: str, method: str | None) -> tuple[str, Any]:
        if method == "__str__":
            return RETURN, str(entry.obj)
        if method == "__repr__":
            return RETURN, repr(entry.obj)
        if method == "#GETVALUE":
            return RETURN, entry.obj
        text = f"method {method!r} of {type(entry.obj)!r} object is not in exposed={sorted(entry.exposed)!r}"
        return TRACEBACK, f"AttributeError: {text}\n"

    def _invoke(self, client: Client, obj: Any, method: str, args: Any, kwds: Any) -> Any:
        """Call a method; one that may block, not longer than the client lives."""
        if isinstance(obj, ACQUIRED):
            if method == "acquire":
                return self._holdings.acquire(client, obj, *args, **kwds)
            if method == "release":
                return self._holdings.release(client, obj, *args, **kwds)
        if isinstance(obj, queue.Queue) and method == "get":
            return get(client, obj, *args, **kwds)
        if method == "wait" and isinstance(obj, threading.Event | threading.Condition):
            return client.wait(obj.wait, *(args or (kwds.get("timeout"),)))
        return getattr(obj, method)(*args, **kwds)

    # -- references ------------------------------------------------------------------------------------------------

    def create(self, name: str, typeid: str, /, *args: Any, **kwds: Any) -> tuple[str, tuple[str, ...]]:
        """Make an object of a registered type; return its name and its methods. The client refers to it."""
        function, exposed, method_to_typeid, _ = self.registry[typeid]
        if function is None:
            if kwds or len(args) != 1:
                raise ValueError("Without callable, must have one non-keyword argument")
            obj = args[0]
        else:
            obj = function(*args, **kwds)
        if exposed is None:
            exposed = public_methods(obj)
        if method_to_typeid is not None:
            exposed = [*exposed, *method_to_typeid]
        ident = f"{id(obj):x}"
        with self.mutex:
            if ident not in self.id_to_obj:
                self.id_to_obj[ident] = Entry(obj, exposed, method_to_typeid)
            self.id_to_obj[ident].references[name] += 1
        return ident, tuple(exposed)

    def incref(self, name: str, ident: str, arrived: bool) -> None:
        """Have a client refer to an object, perhaps by a token that has arrived. Raises KeyError when it is gone."""
        with self.mutex:
            entry = self.id_to_obj[ident]
            entry.references[name] += 1
            if arrived:
                entry.arrived()

    def _decref(self, name: str, ident: str) -> None:
        dropped = None
        with self.mutex:
            entry = self.id_to_obj.get(ident)
            if entry is not None and entry.references[name] > 0:
                entry.references[name] -= 1
                dropped = self._drop_if_unused(ident, entry)
        del dropped  # its finalizer is the user's, and runs without the lock

    def _drop_if_unused(self, ident: str, entry: Entry) -> Entry | None:
        if any(entry.references.values()) or entry.lent > 0:
            return None
        return self.id_to_obj.pop(ident)

    def _drop_client(self, name: str) -> None:
        """Drop all references of a process that has ended."""
        dropped = []
        with self.mutex:
            for ident, entry in list(self.id_to_obj.items()):
                if entry.references.pop(name, 0):
                    dropped.append(self._drop_if_unused(ident, entry))
        dropped.clear()

    def _sweep(self) -> None:
        """Drop what was lent and not fetched in time."""
        dropped, now = [], time.monotonic()
        with self.mutex:
            for ident, entry in list(self.id_to_obj.items()):
                if entry.lent < 0 or (entry.lent and entry.lent_until <= now):
                    entry.lent = 0
                    dropped.append(self._drop_if_unused(ident, entry))
        dropped.clear()

    # -- what a manager asks for -----------------------------------------------------------------------------------

    def dummy(self, name: str) -> None:
        """Do nothing: the client sees that this is a manager's server."""

    def get_methods(self, name: str, ident: str) -> tuple[str, ...]:
        """Return the methods of an object."""
        return tuple(self.id_to_obj[ident].exposed)

    def number_of_objects(self, name: str) -> int:
        """Return how many objects there are."""
        return len(self.id_to_obj)

    def debug_info(self, name: str) -> str:
        """Describe the objects, a line or two each."""
        with self.mutex:
            return "\n".join(
                f"  {ident}:       refcount={sum(entry.references.values())}\n    {str(entry.obj)[:75]}"
                for ident, entry in sorted(self.id_to_obj.items())
            )

    def shutdown(self, name: str) -> None:
        """End the server."""
        self.stop_event.set()


def _raised(error: Exception) -> tuple[str, Any]:
    """Return the answer to a call that raised."""
    text = traceback.format_exc()
    try:
        return ERROR, ExceptionWithTraceback(sendable(error), text)
    except Exception as failure:  # noqa: BLE001  (it cannot travel: its traceback does)
        return TRACEBACK, text + reason_of(failure)


def run_server(  # noqa: PLR0913  (what a manager tells its server)
    kind: type[Server],
    registry: dict[str, Registered],
    address: Any,
    authkey: bytes,
    serializer: str,
    writer: Any,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
) -> None:
    """Be the server of a manager, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the owner's to decide upon
    process = current_process()
    process._config["nests"] = True
    process._config["authkey"] = authkey
    if initializer is not None:
        initializer(*initargs)
    server = kind(registry, address, bytes(authkey), serializer)
    writer.send(server.address)
    writer.close()
    server.serve_forever()
