"""What a remote context's shared objects live in: a manager's server, in the process that made the context."""

from __future__ import annotations

import threading

from polyproc._base.native import native
from polyproc._base.typing import TYPE_CHECKING, Any, Mapping
from polyproc._connection.listener import Listener
from polyproc._hosts.same_host import this_host
from polyproc._hosts.served_kinds import CONDITIONS, COUNTED, HELD, IN_MEMORY, QUEUES, put_behind
from polyproc._hosts.server_connection import link_of
from polyproc._hosts.wire import PEER_TIMEOUT, dial, notice_loss, prove
from polyproc._managers.links import Token, links, listener_client, servers_here
from polyproc._managers.server import Server, raised
from polyproc._managers.serving import Client, gives_items, put_back, serving
from polyproc._pickling.pickler import dumps_to_keep
from polyproc._process.process import current_process

if native:
    from polyproc._core import check_waits

if TYPE_CHECKING:
    from ssl import SSLContext

    from polyproc._hosts.certificate import Certificate


def _check_client() -> None:
    """Raise ClientGone or CalledOff if nobody waits for what this thread waits for."""
    client = serving.client
    if client is not None:
        client.check()


SERIALIZER = "hosts"
_TICK = 0.5
_ITEM_AHEAD = 2  # parts of a request that is not answered: see server_connection.py
# An address: host, port, the fingerprint of what encrypts the connection, "" for none, and which host that is.
HostAddress = tuple[str, int, str, str]


class HostListener(Listener):
    """A listener whose address says by which certificate it is known."""

    def __init__(self, address: HostAddress, backlog: int, authkey: bytes, *, ssl: SSLContext | None = None) -> None:
        host, port, self._fingerprint, self._host = address
        super().__init__((host, port), "AF_INET", backlog, authkey, ssl=ssl)
        notice_loss(self._listening)  # what it accepts has it from it

    def _connection_of(self, admitted: Any) -> Any:
        return link_of(admitted.sock, bool(self._fingerprint))

    @property
    def address(self) -> HostAddress:
        """The address it is bound to, and what else one has to know."""
        host, port = self._address
        return host, port, self._fingerprint, self._host


def connect(address: HostAddress, authkey: bytes) -> Any:
    """Connect to such a listener. Raises OSError and AuthenticationError."""
    host, port, fingerprint, _ = address
    sock = dial([(host, port)], fingerprint or None)
    try:
        # Of a lost host its agent tells; a server that holds its GIL for long is there.
        notice_loss(sock, PEER_TIMEOUT, when_busy=False)
        prove(sock, authkey)
    except BaseException:
        sock.close()
        raise
    return link_of(sock, bool(fingerprint))


listener_client[SERIALIZER] = (HostListener, connect)


class HostToken(Token):
    """The name of such a server's object: who receives it knows how to connect."""

    __slots__ = ()


class ObjectServer(Server):
    """The server of a context's objects. A client that refers to one, or holds a lock, is watched by its connection."""

    public = (*Server.public, "in_memory")

    def __init__(self, registry: Mapping[str, Any], host: str, certificate: Certificate | None) -> None:
        fingerprint = "" if certificate is None else certificate.fingerprint
        tls = None if certificate is None else certificate.server_context()
        self.authkey = bytes(current_process().authkey)
        super().__init__(dict(registry), (host, 0, fingerprint, this_host()), self.authkey, SERIALIZER, tls)
        self._holdings.hold_also(HELD, COUNTED)
        self._sent = threading.local()
        self._threads = [
            threading.Thread(target=self._accept, name="polyproc-objects", daemon=True),
            threading.Thread(target=self._sweep, name="polyproc-objects-sweep", daemon=True),
        ]
        servers_here[self.address] = self
        for thread in self._threads:
            thread.start()

    def _sweep(self) -> None:
        while not self.stop_event.wait(_TICK):
            self.references.sweep()

    def in_memory(self, name: str, ident: str) -> bytes | None:
        """Return an object, for a process of this host, if it is in memory that it can have."""
        obj = self.id_to_obj[ident].obj
        if not isinstance(obj, IN_MEMORY):
            return None
        self._sent.last = packed = dumps_to_keep(obj)  # until the client of this thread asks for something else
        return packed

    def _serve_calls(self, connection: Any, name: str) -> None:
        if native:  # what waits for objects in memory ends when its client has gone
            check_waits(_check_client)
        super()._serve_calls(connection, name)

    def _serve_request(self, client: Client, name: str, request: Any) -> None:
        """Answer a request, or take an item that was sent ahead."""
        if len(request) != _ITEM_AHEAD:
            super()._serve_request(client, name, request)
            return
        ident, item = request
        entry = self.id_to_obj.get(ident)
        if entry is None:  # nobody can get from it any more
            return
        serving.client = None  # more may come meanwhile: that calls nothing off
        try:
            entry.obj.put(item)
        except Exception as error:  # noqa: BLE001  (told, in time)
            client.connection.send_failure(ident, raised(error))
        finally:
            serving.client = client

    def invoke(self, client: Client | None, obj: Any, method: str, args: Any, kwds: Any) -> Any:
        """Call a method for a client, if it is for one."""
        if client is None:
            if method == "release" and isinstance(obj, self._holdings.alone):
                return self._holdings.release_here(obj, *args, **kwds)
        elif method == "wait" and isinstance(obj, CONDITIONS):
            return self._wait(client, obj, *args, **kwds)
        elif self._gives_items(obj, method):
            client.check()
        return super().invoke(client, obj, method, args, kwds)

    def _wait(self, client: Client, condition: Any, *args: Any, **kwds: Any) -> bool:
        """Wait for a condition; a notification goes on to another, if its client does not wait any more."""
        held = self._holdings.suspend(client, condition)
        try:
            notified: bool = condition.wait(*args, **kwds)
        finally:
            self._holdings.resume(client, condition, held, condition._lock._is_mine())
        if notified:
            try:
                client.check()
            except BaseException:
                condition.notify()
                raise
        return notified

    @staticmethod
    def _gives_items(obj: Any, method: str) -> bool:
        return method == "get" if isinstance(obj, QUEUES) else gives_items(obj, method)

    @staticmethod
    def _put_back(obj: Any, item: Any) -> None:
        if isinstance(obj, QUEUES):
            put_behind(obj, item)
        elif hasattr(obj, "put_back"):  # a pipe's
            obj.put_back(item)
        else:
            put_back(obj, item)

    def adopt(self, obj: Any, exposed: Any, method_to_typeid: dict[str, str] | None = None) -> str:
        """Keep an object that this process has made; return its name. This process refers to it."""
        return self.references.add("", obj, exposed, method_to_typeid)

    def object_of(self, ident: str) -> Any:
        """Return an object."""
        return self.id_to_obj[ident].obj

    def abandon(self) -> None:
        """In a forked child: it is the parent's."""
        servers_here.pop(self.address, None)
        self.listener.close()

    def end(self) -> None:
        """Serve nobody any more."""
        self.stop_event.set()
        self.listener.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        servers_here.pop(self.address, None)
        links.forget(self.address, SERIALIZER)
