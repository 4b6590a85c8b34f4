"""The socket of a listener, as programs reach for it: `listener._listener._socket`.

They set a time limit for `accept` there, or wait for the socket to be readable and then accept. The socket itself never
blocks, as admission needs it; the limit is kept beside it.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import socket
import struct

from polyproc._base.errors import AuthenticationError
from polyproc._base.modules import Later, said
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Iterator, NamedTuple, TypeVar
from polyproc._platform.handles import ready
from polyproc._platform.posix import LINUX, OwnFile, has, have_abstract_sockets, tells_of_processes


class Admitted(NamedTuple):
    """A peer that is through: its socket, which blocks, its address, and what it asked for."""

    sock: _socket.socket
    address: Any
    request: bytes


# Not what somebody may have put in its place, which does as it likes with time limits.
if TYPE_CHECKING:
    from socket import socket as _Socket
else:
    kinds = _socket.socket.__subclasses__()
    _Socket = next(kind for kind in kinds if (kind.__module__, kind.__qualname__) == ("socket", "socket"))


class ListeningSocket(_Socket):
    """A listening socket. What a program sets as its time limit is that of the listener's `accept`.

    Attributes:
        limit: how long `accept` waits for a peer, in seconds; None for ever.
        is_watched: whether somebody has asked for the descriptor, to wait for it beside others.
    """

    def __init__(self, family: int) -> None:
        super().__init__(family)
        self.limit: float | None = None
        self.is_watched = False
        super().setblocking(False)

    def settimeout(self, value: float | None) -> None:
        """Set how long `accept` waits; 0 for not at all, None for ever."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self.limit = value

    def gettimeout(self) -> float | None:
        """Return how long `accept` waits; None for ever."""
        return self.limit

    def setblocking(self, flag: bool) -> None:
        """Make `accept` wait without limit, or not at all."""
        self.limit = None if flag else 0.0

    def getblocking(self) -> bool:
        """Return whether `accept` waits."""
        return self.limit != 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept whoever comes, within the limit: no key is asked for."""
        if not ready([self.number()], self.limit):
            raise TimeoutError("timed out") if self.limit else BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        sock, address = super().accept()
        sock.setblocking(True)  # BSD hands on that the listening one does not
        return sock, address

    def fileno(self) -> int:
        """Return the descriptor."""
        self.is_watched = True
        return self.number()

    def number(self) -> int:
        """Return the descriptor, for ourselves."""
        return super().fileno()


class SocketListener:
    """The `_listener` of a `Listener`, as in the standard library: the socket, and what is known of it."""

    def __init__(self, listener: Any, listening: ListeningSocket, family: str) -> None:
        self._listener = listener
        self._socket = listening
        self._family = family

    @property
    def _address(self) -> Any:
        return self._listener.address

    @property
    def _last_accepted(self) -> Any:
        return self._listener.last_accepted

    def accept(self) -> Any:
        """Accept whoever comes, within the socket's limit, without a proof of the key: that is up to the program."""
        sock, address = self._socket.accept()
        return self._listener._connection_of(Admitted(sock, address, b""))

    def close(self) -> None:
        """Close the listener."""
        self._listener.close()


# Addresses of Unix sockets: one that nobody uses, one that is too long, and whose the socket at one is.
#
# A listener that is given no address has one of Linux's abstract namespace (unix(7)): it is gone with the socket,
# however its owner ends, and leaves no file. Such a name has no owner and no mode, so both sides look at the other's
# user (SO_PEERCRED): a listener at its peers, a client at its listener, as any user could take a name that was given
# up.
#
# Elsewhere such a listener has a path in a directory of its own (`own_path`), which only this user may enter. Its
# owner shares a lock of the directory (flock(2)): where nobody does, its owner was killed, and the user's next program
# removes it (`remove_left`).


fcntl: Any = Later("fcntl")
tempfile: Any = Later("tempfile")  # only for systems that have no abstract sockets
Address = Any  # (host, port), a path, or a name of the abstract namespace, which begins with a zero
T = TypeVar("T")
_OURS = "\0polyproc-"
_MAX_PATH = 107 if LINUX else 103  # bytes of sun_path, without its zero
_CREDENTIALS = "3i"  # Linux: pid, uid, gid

# Of the systems that descend from BSD, <sys/un.h> and <sys/ucred.h>: a version and the user, and groups behind them.
_BSD_LEVEL, _BSD_PEER, _BSD_CREDENTIALS, _BSD_SIZE = 0, 1, "=II", 76
_PREFIX, _NAME = "polyproc-listener-", "listener"


def arbitrary_address(family: str) -> Address:
    """Return an address that nobody uses."""
    if family == "AF_INET":
        return ("localhost", 0)
    if family == "AF_UNIX":
        name = os.urandom(16).hex()
        if have_abstract_sockets:
            return _OURS + name
        from polyproc._cleanup import temp_dir

        return os.path.join(temp_dir.get(), f"{_NAME}-{name[:8]}")
    raise ValueError(f"unrecognized family: it is 'AF_INET' or 'AF_UNIX', and not {family!r}")


def own_address(family: str) -> tuple[Address, OwnFile | None]:
    """Return an address for a listener that was given none; and what says for how long a path is used."""
    if family == "AF_UNIX" and not have_abstract_sockets:
        return own_path()
    return arbitrary_address(family), None


def own_path() -> tuple[str, OwnFile]:
    """Return a path that nobody uses, in a new directory; and what says for how long it is used."""
    while True:
        folder = tempfile.mkdtemp(prefix=_PREFIX)
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # it was taken for one that was left
            continue
        claim = OwnFile(fd)
        fcntl.flock(fd, fcntl.LOCK_SH)
        if os.path.isdir(folder):
            return os.path.join(folder, _NAME), claim


def remove_left(folder: str) -> list[str]:
    """Remove the directories of listeners whose owners were killed; return them."""
    removed = []
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(_PREFIX):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:  # a file, another user's, or gone
                continue
            try:
                if os.fstat(fd).st_uid == os.geteuid() and set(os.listdir(fd)) <= {_NAME}:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove_directory(path)
                    removed.append(path)
            except OSError:  # somebody listens there
                pass
            finally:
                os.close(fd)
    return removed


def _remove_directory(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(path, _NAME))
    os.rmdir(path)


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
    # BSD refuses that of a socket. There nobody can connect until it listens, which is after the mode is set.
    with contextlib.suppress(OSError):
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
    return _user_of(sock) in (os.geteuid(), 0)


def _user_of(sock: socket.socket) -> int:
    """Return the user at the other end; this one, where the system does not tell: such a peer could enter the path."""
    if has(socket, "SO_PEERCRED"):
        sent = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS))
        return int(struct.unpack(_CREDENTIALS, sent)[1])
    try:
        sent = sock.getsockopt(_BSD_LEVEL, _BSD_PEER, _BSD_SIZE)
        return int(struct.unpack_from(_BSD_CREDENTIALS, sent)[1])
    except (OSError, struct.error):
        return os.geteuid()


@contextlib.contextmanager
def _in_reach(path: Any) -> Iterator[Any]:
    """Name a path so that it fits into a socket's address.

    A long one by way of its directory's descriptor; where there is no /proc, of a link to its directory, from a short
    path, for as long as that takes.
    """
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield path
        return
    folder, name = os.path.split(path)
    if not tells_of_processes():
        with tempfile.TemporaryDirectory(prefix="polyproc.", dir="/tmp") as short:
            link = os.path.join(short, "-")
            os.symlink(os.path.abspath(os.fsdecode(folder or ".")), link)
            yield f"{link}/{os.fsdecode(name)}"
        return
    fd = os.open(folder or ".", os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{os.fsdecode(name)}"
    finally:
        os.close(fd)
