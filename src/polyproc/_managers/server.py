"""The server of a manager: objects, the clients that refer to them, and a thread for each connection."""

from __future__ import annotations

import _signal as signal  # `signal` makes enumerations of it
import collections
import sys
import threading
import time
from queue import Empty, SimpleQueue

from polyproc._base.errors import AuthenticationError, TimeoutError
from polyproc._base.modules import Later, public
from polyproc._base.process_state import log
from polyproc._base.typing import Any, Callable, ItemsView, KeysView, ValuesView
from polyproc._managers.links import (
    BYE,
    CALLS,
    DECREF,
    ERROR,
    INHERIT,
    LEND,
    PROXY,
    RETURN,
    TRACEBACK,
    UNSERIALIZABLE,
    Token,
    listener_client,
    public_methods,
)
from polyproc._managers.serving import (
    TAKING,
    Client,
    ClientGone,
    Holdings,
    get,
    gives_items,
    join,
    put_back,
    serving,
    watch,
)
from polyproc._pickling.pickler import ExceptionWithTraceback, reason_of, sendable
from polyproc._platform.handles import pause
from polyproc._process.process import current_process

# References: the objects of a manager's server, and the processes that refer to them.


# Seconds that an object stays whose token is on its way to a process that has not said that it has it; and that what a
# forked child inherits waits for that child.
LENT = 120.0
_VIEWS = (KeysView, ValuesView, ItemsView)


class Entry:
    """An object, and the clients that refer to it."""

    def __init__(self, obj: Any, exposed: Any, method_to_typeid: dict[str, str] | None) -> None:
        self.obj = obj
        self.exposed = frozenset(exposed)
        watch(obj)
        self.method_to_typeid = method_to_typeid or {}
        self.references: collections.Counter[str] = collections.Counter()
        # Passages of tokens that are on their way, and of those that came before their departure was told; until when.
        self.lent: dict[str, float] = {}
        self.early: dict[str, float] = {}

    def lend(self, passage: str, now: float) -> None:
        """Keep it until a token has arrived, but not for ever."""
        if self.early.pop(passage, None) is None:
            self.lent[passage] = now + LENT

    def arrived(self, passage: str, now: float) -> None:
        """Note that a token has arrived."""
        if self.lent.pop(passage, None) is None:
            self.early[passage] = now + LENT

    def expire(self, now: float) -> bool:
        """Forget what is late; return whether something was lent in vain."""
        late = [passage for passage, until in self.lent.items() if until <= now]
        for passage in late:
            del self.lent[passage]
        self.early = {passage: until for passage, until in self.early.items() if until > now}
        return bool(late)


class ClientExit:
    """How a client process ended, once that is known: its anchor tells. One that says good-bye has not died."""

    def __init__(self) -> None:
        self.known = threading.Event()
        self.died = True
        self.parked: list[Client] = []  # those of its connections that have gone before and hold locks


class References:
    """The objects, by name, and the clients that refer to them. One for each server.

    A process refers to an object from the moment on at which the server has made it, or at which it says that a token
    has arrived. What is on its way is lent; what a forked child finds in its memory is its own before its parent can
    let go. So there is no moment between a sender's end and a receiver's beginning at which nobody refers to an object.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.mutex: threading.RLock = threading.RLock()
        self._heirs: dict[str, float] = {}  # forked children that have not come yet, and until when they may
        self._present: set[str] = set()

    def add(self, name: str, obj: Any, exposed: Any, method_to_typeid: dict[str, str] | None) -> str:
        """Add a process's reference to an object, perhaps a new one; return the object's name."""
        ident = f"{id(obj):x}"
        with self.mutex:
            if ident not in self.entries:
                self.entries[ident] = Entry(obj, exposed, method_to_typeid)
            self.entries[ident].references[name] += 1
        return ident

    def claim(self, name: str, ident: str, passage: str | None = None) -> None:
        """Add a process's reference to an object, perhaps by a token on its way. Raises KeyError if it is gone."""
        with self.mutex:
            entry = self.entries[ident]
            entry.references[name] += 1
            if passage is not None:
                entry.arrived(passage, time.monotonic())

    def lend(self, ident: str, passage: str) -> None:
        """Keep an object for a while: its token is on its way to another process."""
        with self.mutex:
            if ident in self.entries:
                self.entries[ident].lend(passage, time.monotonic())

    def inherit(self, name: str, heir: str) -> None:
        """Give a child that is being forked its parent's references, until it connects and says otherwise."""
        with self.mutex:
            for entry in self.entries.values():
                if (count := entry.references[name]) > 0:
                    entry.references[heir] = count
            if heir not in self._present:
                self._heirs[heir] = time.monotonic() + LENT

    def arrived(self, name: str) -> None:
        """Note that a process has come: from now on its end is seen."""
        with self.mutex:
            self._present.add(name)
            self._heirs.pop(name, None)

    def drop(self, name: str, ident: str) -> None:
        """Remove one of a process's references to an object."""
        dropped = None
        with self.mutex:
            entry = self.entries.get(ident)
            if entry is not None and entry.references[name] > 0:
                entry.references[name] -= 1
                dropped = self._drop_if_unused(ident, entry)
        del dropped  # its finalizer is the user's, and runs without the lock

    def _drop_if_unused(self, ident: str, entry: Entry) -> Entry | None:
        if any(entry.references.values()) or entry.lent:
            return None
        return self.entries.pop(ident)

    def drop_client(self, name: str) -> None:
        """Drop all references of a process that has ended."""
        dropped = []
        with self.mutex:
            self._present.discard(name)
            for ident, entry in list(self.entries.items()):
                if entry.references.pop(name, 0):
                    dropped.append(self._drop_if_unused(ident, entry))
        dropped.clear()

    def sweep(self) -> None:
        """Drop what was lent and not fetched in time, and what children inherited that have not come."""
        dropped, now = [], time.monotonic()
        with self.mutex:
            late = [heir for heir, until in self._heirs.items() if until <= now]
            for heir in late:
                del self._heirs[heir]
            for ident, entry in list(self.entries.items()):
                if (entry.lent or entry.early) and entry.expire(now):
                    dropped.append(self._drop_if_unused(ident, entry))
        dropped.clear()
        for heir in late:
            self.drop_client(heir)


traceback: Any = Later("traceback")
_TICK = 0.5
_PAUSE = 0.01  # seconds after what may last: no descriptors, no threads, no memory

# callable, exposed methods, types of what methods return, proxy type
Registered = tuple[Callable[..., Any] | None, Any, dict[str, str] | None, Any]


@public("managers")
class Server:
    """A listening server. `serve_forever` runs it; each connection is served by a thread of its own."""

    public: tuple[str, ...] = ("shutdown", "create", "incref", "get_methods", "number_of_objects", "debug_info")
    public += ("dummy", "here", "join")
    _gives_items, _put_back = staticmethod(gives_items), staticmethod(put_back)
    join: Callable[[str, tuple[Any, int], int], None] = staticmethod(join)

    def __init__(
        self, registry: dict[str, Registered], address: Any, authkey: bytes, serializer: str, tls: Any = None
    ) -> None:
        if not isinstance(authkey, bytes):
            raise TypeError(f"Authkey {authkey!r} is type {type(authkey)!s}, not bytes")
        self.registry = registry
        self._serializer = serializer
        options = {} if tls is None else {"ssl": tls}
        self.listener: Any = listener_client[serializer][0](address=address, backlog=128, authkey=authkey, **options)
        self.address: Any = self.listener.address
        self.references: References = References()
        self.id_to_obj: dict[str, Entry] = self.references.entries
        self.mutex: threading.RLock = self.references.mutex
        self.stop_event: threading.Event = threading.Event()
        self._holdings = Holdings()
        self._exits: dict[str, ClientExit] = {}
        self._is_broken = False

    def serve_forever(self) -> None:
        """Serve until told to shut down; then end this process."""
        current_process()._manager_server = self  # type: ignore[attr-defined]
        code = 0
        try:
            threading.Thread(target=self._accept, name="polyproc-manager", daemon=True).start()
            while not self.stop_event.wait(_TICK):
                self.references.sweep()
            code = int(self._is_broken)
        except (KeyboardInterrupt, SystemExit):
            pass
        except BaseException:  # noqa: BLE001  (told, and the end of the server: its clients see it)
            sys.stderr.write("a manager's server ended by an error:\n" + traceback.format_exc())
            code = 1
        finally:
            if sys.stdout is not sys.__stdout__:
                sys.stdout = sys.__stdout__
                sys.stderr = sys.__stderr__
            self.listener.close()
            sys.exit(code)

    def _accept(self) -> None:
        """Accept until the end. Whatever ends this thread ends the server: nobody else would let clients in."""
        try:
            while not self.stop_event.is_set():
                try:
                    self._begin_to_serve(self.listener.accept())
                except (AuthenticationError, TimeoutError, EOFError):
                    continue
                except Exception as error:  # noqa: BLE001  (no descriptors or memory left: they come back)
                    if not self.stop_event.is_set():
                        log.info("a client of the manager was not let in: %s", error)
                        pause(_PAUSE)
        except BaseException:
            self._is_broken = True
            sys.stderr.write("a manager's thread ended by an error:\n" + traceback.format_exc())
            raise
        finally:
            self.stop_event.set()

    def _begin_to_serve(self, connection: Any) -> None:
        try:
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except RuntimeError as error:
            try:
                connection.send((TRACEBACK, f"RuntimeError: {error}: the manager cannot serve another client now\n"))
            finally:
                connection.close()
            raise
        except BaseException:
            connection.close()
            raise

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
            log.info("a client of the manager sent what cannot be read:\n%s", traceback.format_exc())
        finally:
            connection.close()

    def _serve_anchor(self, connection: Any, name: str) -> None:
        ending = self._exit_of(name)
        self.references.arrived(name)
        try:
            while True:
                what, ident = connection.recv()
                if what == DECREF:
                    self.references.drop(name, ident)
                elif what == LEND:
                    self.references.lend(*ident)
                elif what == INHERIT:
                    self.references.inherit(name, ident)
                elif what == BYE:
                    ending.died = False
                else:
                    connection.send((RETURN, ident))
        finally:
            with self.mutex:
                ending.known.set()
                self._exits.pop(name, None)
            for client in list(ending.parked):
                client.orders.put(_look)
            self.references.drop_client(name)

    def _exit_of(self, name: str) -> ClientExit:
        with self.mutex:
            return self._exits.setdefault(name, ClientExit())

    def _serve_calls(self, connection: Any, name: str) -> None:
        serving.client = client = Client(connection, name, self._holdings)
        ending = self._exit_of(name)
        try:
            while not self.stop_event.is_set():
                try:
                    request = connection.recv()
                except (EOFError, OSError):
                    return
                except Exception:  # noqa: BLE001  (arguments that cannot be opened here)
                    self._answer(client, (TRACEBACK, traceback.format_exc()), None)
                    continue
                self._serve_request(client, name, request)
                del request
                if client.place is not None:
                    client.join()
        finally:
            client.end()
            if client.held:
                self._outlive(client, ending)

    def _serve_request(self, client: Client, name: str, request: Any) -> None:
        ident, method, _, _ = request
        entry = None if ident is None else self.id_to_obj.get(ident)
        answer = self._call(client, name, entry, request)
        taking = entry if method in TAKING and answer[0] == RETURN else None
        taken_from = taking.obj if taking and self._gives_items(taking.obj, method) else None
        self._answer(client, answer, taken_from)

    def _outlive(self, client: Client, ending: ClientExit) -> None:
        """Stay as long as a client that has gone holds locks: some are this thread's, and no other can release them.

        They are released when its process dies, or by its process. When that has ended in good order they stay locked,
        and so this thread stays: else its number would be another's, which would own them.
        """
        self._holdings.park(client)
        ending.parked.append(client)
        while client.held and not self.stop_event.is_set():
            if ending.known.is_set() and ending.died:
                self._holdings.let_go(client)
                break
            try:
                client.orders.get(timeout=_TICK)()
            except Empty:
                pass
        ending.parked.remove(client)

    def _answer(self, client: Client, answer: tuple[str, Any], taken_from: Any) -> None:
        client.is_answering = True
        try:
            if taken_from is not None:
                if client.is_gone():
                    raise BrokenPipeError
                if client.has_called_off():
                    self._put_back(taken_from, answer[1])
                    taken_from, answer = None, (TRACEBACK, "called off")
            client.send(answer)
        except OSError:
            if taken_from is not None:
                self._put_back(taken_from, answer[1])
            raise
        except Exception:  # noqa: BLE001  (a result that cannot be pickled)
            client.connection.send((UNSERIALIZABLE, repr(answer)))
        finally:
            client.is_answering = False

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
                result = self.invoke(client, entry.obj, method, args, kwds)
            except Exception as error:  # noqa: BLE001  (the caller's)
                return raised(error)
            typeid = entry.method_to_typeid.get(method)
            if typeid is None:
                return RETURN, list(result) if result is not None and isinstance(result, _VIEWS) else result
            created, exposed = self.create(name, typeid, result)
            return PROXY, (exposed, Token(typeid, self.address, created))
        except ClientGone:
            raise
        except BaseException:  # noqa: BLE001  (of the server's own; or a method's that would end this thread)
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

    def invoke(self, client: Client | None, obj: Any, method: str, args: Any, kwds: Any) -> Any:
        """Call a method for a client, if it is for one. What waits by a condition waits no longer than that lives."""
        if client is not None:
            if method == "acquire":
                if isinstance(obj, self._holdings.acquired):
                    return self._holdings.acquire(client, obj, *args, **kwds)
            elif method == "release":
                if isinstance(obj, self._holdings.acquired):
                    return self._holdings.release(client, obj, *args, **kwds)
            elif method in TAKING and gives_items(obj, method):
                client.check()
                if method == "get" and isinstance(obj, SimpleQueue):
                    return get(client, obj, *args, **kwds)
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
        return self.references.add(name, obj, exposed, method_to_typeid), tuple(exposed)

    def incref(self, name: str, ident: str, passage: str | None = None) -> None:
        """Add a client's reference to an object, perhaps by a token that arrived. Raises KeyError if it is gone."""
        self.references.claim(name, ident, passage)

    # -- what a manager asks for -----------------------------------------------------------------------------------

    def here(self, name: str, token: str) -> str:
        """Return a token: what its client reads before it are answers to what was called off."""
        return token

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


def _look() -> None:
    """Do nothing: a thread that waits for orders looks around."""


def raised(error: Exception) -> tuple[str, Any]:
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
    """Run the server of a manager, in a process of its own."""
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
