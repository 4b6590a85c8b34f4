"""Sockets and open files on their way to another process: their descriptors are sent, as those of connections are.

Loaded when something could not be pickled, since that is what happens with a socket or a file without it.
"""

from __future__ import annotations

import io
import os

from polyproc._base.modules import load, loaded
from polyproc._base.typing import Any
from polyproc._pickling.pickler import ForkingPickler, register
from polyproc._pickling.sending import sent_fds


def add_reducers() -> bool:
    """Register them; return whether there was something to register."""
    known = len(ForkingPickler._extra_reducers)
    _add(io.FileIO, _reduce_raw)
    _add(io.BufferedReader, _reduce_buffered)
    _add(io.BufferedWriter, _reduce_buffered)
    _add(io.BufferedRandom, _reduce_buffered)
    _add(io.TextIOWrapper, _reduce_text)
    socket: Any = loaded("socket")
    if socket is not None:
        _add(socket.socket, _reduce_socket)
    return len(ForkingPickler._extra_reducers) > known


def _add(kind: type, reduce: Any) -> None:
    if kind not in ForkingPickler._extra_reducers:  # a program's own reducer stays
        register(kind, reduce)


def _reduce_socket(sock: Any) -> tuple[Any, ...]:
    return _rebuild_socket, (sent_fds(sock.fileno()), sock.family, sock.type, sock.proto, sock.gettimeout())


def _rebuild_socket(sent: Any, family: int, kind: int, proto: int, timeout: float | None) -> Any:
    [fd] = sent.detach()
    made: Any = load("socket", "socket")(family, kind, proto, fileno=fd)  # type: ignore[operator]
    made.settimeout(timeout)
    return made


def _settle(file: Any) -> int:
    """Set a file's descriptor to the file's position: flush what was buffered, or seek back to read it again."""
    if file.writable():
        file.flush()
    fd: int = file.fileno()
    if file.seekable():
        os.lseek(fd, file.tell(), os.SEEK_SET)
    return fd


def handle_of(fd: int) -> int:
    """Return what is sent for an open file: on Windows it is another number."""
    return fd


def number_of(handle: int, mode: str) -> int:
    """Return the number of an open file that was received."""
    return handle


def _reduce_raw(file: io.FileIO) -> tuple[Any, ...]:
    return _rebuild_file, (sent_fds(handle_of(file.fileno())), file.mode, 0, None)


def _reduce_buffered(file: io.BufferedReader | io.BufferedWriter | io.BufferedRandom) -> tuple[Any, ...]:
    return _rebuild_file, (sent_fds(handle_of(_settle(file))), _mode(file), -1, None)


def _reduce_text(file: io.TextIOWrapper) -> tuple[Any, ...]:
    position = file.tell() if file.seekable() else None
    if file.writable():
        file.flush()
    if position is not None:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
    mode = _mode(file.buffer).replace("b", "")
    text = (file.encoding, file.errors, position)
    return _rebuild_file, (sent_fds(handle_of(file.fileno())), mode, -1, text)


def _mode(file: Any) -> str:
    if file.readable() and file.writable():
        return "r+b"
    return "rb" if file.readable() else "wb"


# open() of a descriptor truncates nothing, whatever its mode.
def _rebuild_file(sent: Any, mode: str, buffering: int, text: tuple[Any, ...] | None) -> Any:
    [handle] = sent.detach()
    fd = number_of(handle, mode)
    if text is None:
        return open(fd, mode, buffering=buffering)
    encoding, errors, position = text
    file = open(fd, mode, encoding=encoding, errors=errors)  # noqa: SIM115  (the caller closes it)
    if position is not None:
        file.seek(position)
    return file
