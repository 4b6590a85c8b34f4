"""What a remote context's shared objects live in: a manager's server, in the process that made the context."""

from __future__ import annotations

import threading

from polyproc._base.typing import TYPE_CHECKING, Any, Mapping
from polyproc._connection.connection import connection_of
from polyproc._connection.listener import Listener
from polyproc._connection.tls import TlsConnection
from polyproc._hosts.wire import PEER_TIMEOUT, dial, notice_loss, prove
from polyproc._managers.links import Token, links, listener_client
from polyproc._managers.proxies import servers_here
from polyproc._managers.server import Server
from polyproc._process.process import current_process

if TYPE_CHECKING:
    from ssl import SSLContext

    from polyproc._hosts.certificate import Certificate

SERIALIZER = "hosts"
_TICK = 0.5
# An address: host, port, and the fingerprint of what encrypts the connection, "" for none.
HostAddress = tuple[str, int, str]


class HostListener(Listener):
    """A listener whose address says by which certificate it is known."""

    def __init__(self, address: HostAddress, backlog: int, authkey: bytes, *, ssl: SSLContext | None = None) -> None:
        host, port, self._fingerprint = address
        super().__init__((host, port), "AF_INET", backlog, authkey, ssl=ssl)
        notice_loss(self._listening)  # what it accepts has it from it

    @property
    def address(self) -> HostAddress:
        """The address it is bound to, and the fingerprint."""
        host, port = self._address
        return host, port, self._fingerprint


def connect(address: HostAddress, authkey: bytes) -> Any:
    """Connect to such a listener. Raises OSError and AuthenticationError."""
    host, port, fingerprint = address
    sock = dial([(host, port)], fingerprint or None)
    try:
        notice_loss(sock, PEER_TIMEOUT)
        prove(sock, authkey)
    except BaseException:
        sock.close()
        raise
    return TlsConnection(sock) if fingerprint else connection_of(sock)  # type: ignore[arg-type]


listener_client[SERIALIZER] = (HostListener, connect)


class HostToken(Token):
    """The name of such a server's object: who receives it knows how to connect."""

    __slots__ = ()


class ObjectServer(Server):
    """The server of a context's objects. A client that refers to one, or holds a lock, is watched by its connection."""

    def __init__(self, registry: Mapping[str, Any], host: str, certificate: Certificate | None) -> None:
        fingerprint = "" if certificate is None else certificate.fingerprint
        tls = None if certificate is None else certificate.server_context()
        self.authkey = bytes(current_process().authkey)
        super().__init__(dict(registry), (host, 0, fingerprint), self.authkey, SERIALIZER, tls)
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
