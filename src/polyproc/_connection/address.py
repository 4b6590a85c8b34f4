"""Addresses of Unix sockets: one that nobody uses, one that is too long, and whose the socket at one is.

A listener that is given no address has one of Linux's abstract namespace (unix(7)): it is gone with the socket, however
its owner ends, and leaves no file. Such a name has no owner and no mode, so both sides look at the other's user
(SO_PEERCRED): a listener at who connects, a client at who listens, as any user could take a name that was given up.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

from polyproc._connection.listening import ListeningSocket
from polyproc._errors import AuthenticationError
from polyproc._lazy import Later, said
from polyproc._platform.posix import have_abstract_sockets
from polyproc._typing import Any, Callable, Iterator, TypeVar

tempfile: Any = Later("tempfile")  # only for systems that have no abstract sockets

Address = Any  # (host, port), a path, or a name of the abstract namespace, which begins with a zero

T = TypeVar("T")

_OURS = "\0polyproc-"
_MOST = 107  # bytes of sun_path, without its zero
_CREDENTIALS = "3i"  # pid, uid, gid


def arbitrary_address(family: str) -> Address:
    """Return an address that nobody uses."""
    if family == "AF_INET":
        return ("localhost", 0)
    if family == "AF_UNIX":
        return _OURS + os.urandom(16).hex() if have_abstract_sockets else own_path()
    raise ValueError(f"unrecognized family: it is 'AF_INET' or 'AF_UNIX', and not {family!r}")


def own_path() -> str:
    """Return a path that nobody uses, in a new directory."""
    return os.path.join(tempfile.mkdtemp(prefix="polyproc-"), "listener")


def is_abstract(address: Address) -> bool:
    """Return whether it is a name of the abstract namespace."""
    return isinstance(address, str | bytes) and address[:1] == ("\0" if isinstance(address, str) else b"\0")


def bind(listening: ListeningSocket, address: Address, family: str) -> Address:
    """Bind a socket; return its address, as a client says it. A Unix socket's file is its owner's alone."""
    if family != "AF_UNIX":
        listening.bind(address)
        return listening.getsockname()
    if is_abstract(address):
        listening.bind(address)
        return address
    # The file must not be anybody else's for an instant; fchmod(2) of the socket before bind(2) says what it will be.
    os.fchmod(listening.number(), 0o600)
    with _in_reach(address) as path:
        listening.bind(path)
    os.chmod(address, 0o600)
    return address


def named(use: Callable[..., T], sock: socket.socket, address: Address, *more: object) -> T:
    """Use a socket with an address; an error then tells the address, and what is wrong with it."""
    try:
        return use(sock, address, *more)
    except OSError as error:
        if error.filename is None:
            error.filename = address
        raise
    except TypeError as error:
        raise said("wrong_address", error, address) from None


def connect(sock: socket.socket, address: Address, family: str, has_key: bool) -> None:
    """Connect to a listener.

    Raises:
        OSError: nobody listens there.
        AuthenticationError: the address is of a listener that was given none, and another user has it now; unless that
            one has to prove a key.
    """
    if family != "AF_UNIX" or is_abstract(address):
        sock.connect(address)
    else:
        with _in_reach(address) as path:
            sock.connect(path)
    if not has_key and isinstance(address, str) and address.startswith(_OURS) and not is_same_user(sock):
        raise AuthenticationError("the listener belongs to another user")


def is_same_user(sock: socket.socket) -> bool:
    """Return whether the process at the other end of a Unix socket is of this user, or the system's."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    sent = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS))
    return struct.unpack(_CREDENTIALS, sent)[1] in (os.geteuid(), 0)


@contextlib.contextmanager
def _in_reach(path: Any) -> Iterator[Any]:
    """Name a path so that it fits into a socket's address: a long one by way of its directory's descriptor."""
    if len(os.fsencode(path)) <= _MOST or not os.path.isdir("/proc/self/fd"):
        yield path
        return
    folder, name = os.path.split(path)
    fd = os.open(folder or ".", os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{os.fsdecode(name)}"
    finally:
        os.close(fd)
