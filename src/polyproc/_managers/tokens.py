"""Tokens and messages: what a proxy and its server say to each other.

    calls:   (object or None, method, args, kwargs)  ->  (kind, value)
    anchor:  (what, of what)                             no answer, but to "sync"

The first message of a connection says which of the two it is, and for which process. A process has one anchor at a
server: it holds the process's references. When it ends, whatever way, they are dropped.
"""

from __future__ import annotations

from polyproc._errors import RemoteError
from polyproc._public import Remade, public
from polyproc._typing import Any

CALLS, ANCHOR = "calls", "anchor"
RETURN, PROXY, ERROR, TRACEBACK, UNSERIALIZABLE = "#RETURN", "#PROXY", "#ERROR", "#TRACEBACK", "#UNSERIALIZABLE"
DECREF, LEND, INHERIT, SYNC, BYE = "decref", "lend", "inherit", "sync", "bye"
HERE = "here"  # a request: its answer is its argument; the one before it, if that waits, is called off


@public("managers")
class Token(Remade):
    """The name of a shared object: its type's, its server's address, and its own there."""

    __slots__ = ("address", "id", "passage", "typeid")

    def __init__(self, typeid: str, address: Any, id: str, passage: str | None = None) -> None:
        self.typeid, self.address, self.id = typeid, address, id
        self.passage = passage  # names its way to another process, at whose end it is None again

    def __getstate__(self) -> tuple[str, Any, str, str | None]:
        return self.typeid, self.address, self.id, self.passage

    def __setstate__(self, state: tuple[str, Any, str, str | None]) -> None:
        self.typeid, self.address, self.id, self.passage = state

    def __repr__(self) -> str:
        return f"{type(self).__name__}(typeid={self.typeid!r}, address={self.address!r}, id={self.id!r})"


def dispatch(c: Any, id: str | None, methodname: str | None, args: Any = (), kwds: Any = {}) -> Any:  # noqa: B006
    """Ask over a connection; return the answer or raise what it says."""
    c.send((id, methodname, args, kwds))
    return answer_of(*c.recv())


def answer_of(kind: str, result: Any) -> Any:
    """Return what an answer says, or raise it."""
    if kind == RETURN:
        return result
    error = convert_to_error(kind, result)
    try:
        raise error
    finally:
        del error, result  # else the traceback and this frame would keep each other


def convert_to_error(kind: str, result: Any) -> BaseException:
    """Return the exception that an answer stands for."""
    if kind == ERROR:
        if isinstance(result, BaseException):
            return result
        return TypeError(f"Result {result!r} (kind '{kind}') type is {type(result)}, not an exception")
    if kind in (TRACEBACK, UNSERIALIZABLE):
        if not isinstance(result, str):
            return TypeError(f"Result {result!r} (kind '{kind}') type is {type(result)}, not str")
        return RemoteError(result if kind == TRACEBACK else f"Unserializable message: {result}\n")
    return ValueError(f"Unrecognized message type {kind!r}")


def all_methods(obj: object) -> list[str]:
    """Return the names of an object's methods."""
    return [name for name in dir(obj) if callable(getattr(obj, name))]


def public_methods(obj: object) -> list[str]:
    """Return those that do not begin with an underscore."""
    return [name for name in all_methods(obj) if name[0] != "_"]
