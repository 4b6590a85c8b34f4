"""Connections whose messages are XML-RPC and not pickles: plain data only, and safe to open whoever sent it."""

from __future__ import annotations

from polyproc._base.modules import Later
from polyproc._base.typing import Any
from polyproc._connection.connection import Connection
from polyproc._connection.listener import Client, Listener

xmlrpc: Any = Later("xmlrpc.client")  # which loads http, email, ssl


class ConnectionWrapper:
    """A connection that sends and receives objects in another way."""

    def __init__(self, conn: Connection[Any, Any], dumps: Any, loads: Any) -> None:
        self._conn = conn
        self._dumps = dumps
        self._loads = loads
        for name in ("fileno", "close", "poll", "recv_bytes", "send_bytes"):
            setattr(self, name, getattr(conn, name))

    def send(self, obj: Any) -> None:
        """Send an object."""
        self._conn.send_bytes(self._dumps(obj))

    def recv(self) -> Any:
        """Receive an object."""
        return self._loads(self._conn.recv_bytes())


def _to_xml(obj: Any) -> bytes:
    text: str = xmlrpc.dumps((obj,), None, None, None, True)
    return text.encode("utf-8")


def _from_xml(data: bytes) -> Any:
    (obj,), _ = xmlrpc.loads(data.decode("utf-8"))
    return obj


class XmlListener(Listener):
    """A listener whose connections speak XML-RPC."""

    def accept(self, timeout: float | None = None) -> Any:
        """Wait for a connection: see `Listener`."""
        return ConnectionWrapper(super().accept(timeout), _to_xml, _from_xml)


def XmlClient(*args: Any, **kwds: Any) -> ConnectionWrapper:
    """Connect to a listener; return a connection that speaks XML-RPC."""
    return ConnectionWrapper(Client(*args, **kwds), _to_xml, _from_xml)
