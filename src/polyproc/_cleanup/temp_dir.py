"""A directory of this process for sockets and the like, removed at exit; and other odds of the old `util`."""

from __future__ import annotations

import os
import shutil
import tempfile

from polyproc._base.typing import Final, Iterable
from polyproc._cleanup.finalizers import Finalize
from polyproc._platform.posix import have_abstract_sockets


class TempDir:
    """The directory, made when first asked for. One instance, `temp_dir`."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._pid = 0

    def get(self) -> str:
        """Return its path."""
        if self._path is None or self._pid != os.getpid():
            self._path = tempfile.mkdtemp(prefix="pymp-")
            self._pid = os.getpid()
            Finalize(None, self._remove, args=(self._path,), exitpriority=-100)
        return self._path

    def _remove(self, path: str) -> None:
        shutil.rmtree(path, ignore_errors=True)
        self._path = None


temp_dir = TempDir()
get_temp_dir: Final = temp_dir.get

abstract_sockets_supported: bool = have_abstract_sockets
"""Every user of a machine can connect to one: who listens there looks at each peer's user (_connection/sockets.py)."""


def is_abstract_socket_namespace(address: str | bytes | None) -> bool:
    """Return whether an address is one of Linux's abstract namespace."""
    if not address:
        return False
    if isinstance(address, bytes):
        return address[0] == 0
    if isinstance(address, str):
        return address[0] == "\0"
    raise TypeError(f"address type of {address!r} unrecognized")


def close_all_fds_except(fds: Iterable[int]) -> None:
    """Close all descriptors of this process but these."""
    kept = sorted({*fds})
    for low, high in zip([-1, *kept], [*kept, os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(low + 1, high)


def close_fds(*fds: int) -> None:
    """Close each descriptor."""
    for fd in fds:
        os.close(fd)
