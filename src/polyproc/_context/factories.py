"""Import what is asked for, when it is asked for: one import and one call a function. One of the legal lazy files."""

from __future__ import annotations

from polyproc._base.modules import load, said
from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._process.process import SpawnProcess, launched_by

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from types import ModuleType

    from polyproc._connection.connection import Connection
    from polyproc._context.context import BaseContext
    from polyproc._forkserver.fork_server import ForkServer
    from polyproc._managers.manager import SyncManager
    from polyproc._pool.pool import Pool
    from polyproc._process.process import BaseProcess
    from polyproc.abc import ChildHandle

    Launcher = Callable[[BaseProcess[Any]], ChildHandle]


def fork_popen() -> Launcher:
    """Launch by fork."""
    from polyproc._start.fork import ForkChild

    return ForkChild


def spawn_popen() -> Launcher:
    """Launch a fresh interpreter."""
    from polyproc._start.spawn import SpawnChild

    return SpawnChild


def forkserver_popen() -> Launcher:
    """Ask a fork server."""
    from polyproc._forkserver.fork_server import ForkServerChild

    return ForkServerChild


def forkserver() -> ForkServer:
    """Return the client's side of the fork server."""
    from polyproc._forkserver.fork_server import forkserver

    return forkserver


def pipe(duplex: bool) -> tuple[Connection[Any, Any], Connection[Any, Any]]:
    """Make two connected ends."""
    from polyproc._connection.connection import Pipe

    return Pipe(duplex)


def freeze_support() -> None:
    """Run as the child that the command line asks for, in a frozen program."""
    from polyproc._start.spawn import freeze_support

    freeze_support()


def get_logger() -> logging.Logger:
    """Return the logger."""
    from polyproc._base.logger import get_logger

    return get_logger()


def log_to_stderr(level: int | str | None) -> logging.Logger:
    """Make the logger write to standard error."""
    from polyproc._base.logger import log_to_stderr

    return log_to_stderr(level)


def reduction() -> ModuleType:
    """Return the public module of pickling."""
    from polyproc._pickling import pickler

    return pickler


def synchronize(name: str) -> Any:
    """Return a class of `_synchronize`."""
    return load("polyproc._synchronize.primitives", name)


def memory(module: str, name: str) -> Any:
    """Return a function or class of `_memory`."""
    return load(f"polyproc._memory.{module}", name)


def queues(name: str) -> Any:
    """Return a class of `_queues`."""
    return load("polyproc._queues.queue", name)


def sync_manager() -> type[SyncManager]:
    """Return the class."""
    from polyproc._managers.manager import SyncManager

    return SyncManager


def pool() -> type[Pool]:
    """Return the class."""
    from polyproc._pool.pool import Pool

    return Pool


def engine_context(method: Any, preload: Any, options: dict[str, Any], known: list[str]) -> BaseContext:
    """Return the context of an engine. Raises ValueError for a name that is none."""
    from polyproc._hosts.host_engine import find_engine

    if isinstance(method, str) and find_engine(method) is not None:
        make: Any = load("polyproc._context.remote_context", "make_context")
        return make(method, options if preload is None else {**options, "preload": preload})  # type: ignore[no-any-return]
    raise said("unknown_method", method, known)


def spares(context: BaseContext, modules: list[str]) -> BaseContext:
    """Return a copy of the spawn context with processes that are started from spares."""
    from polyproc._start.spare import Spares

    made = type(context)()
    made.Process = launched_by(Spares(modules), SpawnProcess)  # type: ignore[misc]  # the class of this one context
    return made
