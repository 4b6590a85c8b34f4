"""The connections of this process to managers' servers: one for each thread that calls, and one anchor for each server.

A call and its answer have a connection for themselves. References are dropped through the anchor, from wherever the
garbage collector runs: also in the middle of a call, or of another such message.
"""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polyproc._cleanup.finalizers import Finalize
from polyproc._connection import xml
from polyproc._connection.listener import Client, Listener
from polyproc._managers.tokens import ANCHOR, BYE, CALLS, DECREF, LEND, SYNC

if TYPE_CHECKING:
    from ssl import SSLContext

# How a serializer's name leads to what listens and what connects.
listener_client: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "pickle": (Listener, Client),
    "xmlrpclib": (xml.XmlListener, xml.XmlClient),
}

_LATE = -100  # a priority of finalizers: after the user's


class Anchor:
    """This process's hold on a server's objects."""

    def __init__(self, connect: Callable[[str], Any]) -> None:
        self._connection = connect(ANCHOR)
        self._lock = threading.Lock()
        self._unsent: collections.deque[tuple[str, str]] = collections.deque()

    def say(self, what: str, ident: str) -> None:
        """Send a message, now or after those that another thread, or this one below us, is sending. Never waits."""
        self._unsent.append((what, ident))
        self._send_if_free()

    def _send_if_free(self) -> None:
        while self._unsent and self._lock.acquire(blocking=False):
            try:
                self._send_all()
            finally:
                self._lock.release()

    def _send_all(self) -> None:
        try:
            while self._unsent:
                self._connection.send(self._unsent.popleft())
        except OSError:  # the server is gone, and its objects with it
            self._unsent.clear()

    def sync(self) -> None:
        """Wait until the server has done all that was said."""
        with self._lock:
            self._unsent.append((SYNC, ""))
            self._send_all()
            self._connection.recv()
        self._send_if_free()  # what was said while we waited


class Link:
    """This process's way to a server."""

    def __init__(self, address: Any, serializer: str, authkey: bytes, tls: SSLContext | None) -> None:
        self._address = address
        self._connect = listener_client[serializer][1]
        self._authkey = authkey
        self._tls = tls
        self._lock = threading.Lock()
        self._local = threading.local()
        self._anchor: Anchor | None = None

    def _open(self, role: str) -> Any:
        options = {} if self._tls is None else {"ssl": self._tls}
        connection = self._connect(self._address, authkey=self._authkey, **options)
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
                anchor = self._anchor
        return anchor

    def _connected(self) -> Any:
        if self._anchor is None:
            self.anchor.sync()  # what is created is this process's from the first moment on
        return self._open(CALLS)

    def ask(self, request: tuple[Any, ...]) -> Any:
        """Send a request over this thread's connection; return the answer.

        Raises OSError and EOFError when the server is gone. Whatever interrupts it, the next call is not harmed.
        """
        local = self._local
        connection = getattr(local, "connection", None)
        if connection is None:
            connection = local.connection = self._connected()
        try:
            connection.send(request)
            return connection.recv()
        except BaseException as error:
            if not isinstance(error, Exception) or isinstance(error, OSError | EOFError):
                local.connection = None  # the answer would be the next call's
                connection.close()
            raise

    def over(self, lane: Any, function: Callable[[], Any]) -> Any:
        """Call a function whose requests go over a task's connection, in place of this thread's own (twins.py)."""
        lane.open(self._connected)
        local = self._local
        local.connection = lane.connection
        try:
            return function()
        finally:
            lane.connection, local.connection = local.connection, None

    def drop(self, ident: str) -> None:
        """Give back a reference."""
        if self._anchor is not None:
            self._anchor.say(DECREF, ident)

    def leave(self) -> None:
        """Say, at the end of this process, that it ends in good order: what it has locked stays locked."""
        if self._anchor is not None:
            self._anchor.say(BYE, "")
            try:
                self._anchor.sync()
            except (OSError, EOFError):  # the server has ended
                pass

    def lend(self, ident: str) -> None:
        """Have an object stay for a while: its token is on its way to another process."""
        if self._anchor is not None:
            self._anchor.say(LEND, ident)


class Links:
    """The links of this process. One instance, `links`."""

    def __init__(self) -> None:
        self.name = ""
        self._pid = 0
        self._links: dict[tuple[Any, str], Link] = {}

    def to(self, address: Any, serializer: str, authkey: bytes, tls: SSLContext | None = None) -> Link:
        """Return the link to the server at an address; a forked child does not use its parent's connections."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self.name = f"{self._pid}-{os.urandom(8).hex()}"
            self._links = {}
            Finalize(None, self._leave, exitpriority=_LATE)
        key = (tuple(address) if isinstance(address, list) else address, serializer)
        link = self._links.get(key)
        if link is None or link._authkey != authkey:
            link = self._links[key] = Link(key[0], serializer, authkey, tls)
        return link

    def _leave(self) -> None:
        for link in list(self._links.values()):
            link.leave()

    def forget(self, address: Any, serializer: str) -> None:
        """Close the connections to a server: it has ended, and another may come to its address."""
        self._links.pop((address, serializer), None)


links = Links()
