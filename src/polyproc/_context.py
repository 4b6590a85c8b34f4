"""BaseContext: the factory methods, which a start method completes."""

from __future__ import annotations

import os
import sys

from polyproc._base import errors as _errors
from polyproc._base.modules import public, said, without_collecting
from polyproc._base.process_state import process_state
from polyproc._platform.posix import HAVE_FORK, start_methods
from polyproc._process import process
from polyproc._process.process import (
    BaseProcess,
    ForkProcess,
    ForkServerProcess,
    Process,
    SpawnProcess,
    chosen_method,
    launched_by,
)

TYPE_CHECKING = False  # a bare name: a program does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, ClassVar, Final

    from polyproc._connection.connection import Connection
    from polyproc._managers.manager import SyncManager
    from polyproc._pool import pool
    from polyproc._queues import queue
    from polyproc._synchronize import primitives
else:

    class _Primitives:
        """Locks and the like, loaded when the first is made: an import in each call would cost as much as a lock."""

        def __getattr__(self, name: str) -> Any:
            from polyproc._synchronize import primitives as loaded

            kind = getattr(loaded, name)
            setattr(self, name, kind)
            return kind

    primitives = _Primitives()


@public("context")
class BaseContext:
    """Everything of the module's surface, bound to one start method."""

    ProcessError = _errors.ProcessError
    BufferTooShort = _errors.BufferTooShort
    TimeoutError = _errors.TimeoutError
    AuthenticationError = _errors.AuthenticationError
    ProcessDied = _errors.ProcessDied

    Process: ClassVar[type[BaseProcess[Any]]]
    _name: ClassVar[str | None] = None
    _contexts: ClassVar[dict[str, BaseContext]] = {}

    def _begin(self) -> None:
        """Start early what will start processes: an object is made that is of no use without them."""

    current_process: Final = staticmethod(process.current_process)
    active_children: Final = staticmethod(process.active_children)

    @staticmethod
    def parent_process() -> BaseProcess[Any] | None:
        """Return the process object of the process that started this one; None in a main process."""
        from polyproc._process.parent import parent_process

        return parent_process()

    def cpu_count(self) -> int:
        """Return the number of CPUs of the system. Raises NotImplementedError where it is not known."""
        count = os.cpu_count()
        if count is None:
            raise NotImplementedError("cannot determine number of cpus")
        return count

    def freeze_support(self) -> None:
        """Run the child, if this is the main program of a frozen executable started as one; else do nothing."""
        from polyproc._start.spawn import freeze_support

        freeze_support()

    def get_logger(self) -> logging.Logger:
        """Return the logger used by polyproc."""
        from polyproc._base.logger import get_logger

        return get_logger()

    def log_to_stderr(self, level: int | str | None = None) -> logging.Logger:
        """Make the logger write to standard error; return it."""
        from polyproc._base.logger import log_to_stderr

        return log_to_stderr(level)

    def Manager(self) -> SyncManager:
        """Return a manager whose server has been started: see `polyproc.managers.SyncManager`."""
        manager = _managers_class(self.get_start_method())(ctx=self.get_context())
        manager.start()
        return manager

    def Pipe(self, duplex: bool = True) -> tuple[Connection[Any, Any], Connection[Any, Any]]:
        """Return two connected ends; without `duplex` the first only receives and the second only sends."""
        from polyproc._connection.connection import Pipe

        return Pipe(duplex)

    def Lock(self) -> primitives.Lock:
        """Return a lock; any process or thread may release it."""
        self._begin()
        return primitives.Lock(ctx=self.get_context())

    def RLock(self) -> primitives.RLock:
        """Return a lock that its holder may take again."""
        self._begin()
        return primitives.RLock(ctx=self.get_context())

    def Semaphore(self, value: int = 1) -> primitives.Semaphore:
        """Return a counter to wait for."""
        self._begin()
        return primitives.Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value: int = 1) -> primitives.BoundedSemaphore:
        """Return a counter that does not get above its first value."""
        self._begin()
        return primitives.BoundedSemaphore(value, ctx=self.get_context())

    def Condition(self, lock: primitives.Lock | primitives.RLock | None = None) -> primitives.Condition:
        """Return a condition to wait for."""
        self._begin()
        return primitives.Condition(lock, ctx=self.get_context())

    def Event(self) -> primitives.Event:
        """Return a flag to wait for."""
        self._begin()
        return primitives.Event(ctx=self.get_context())

    def Barrier(
        self, parties: int, action: Callable[[], None] | None = None, timeout: float | None = None
    ) -> primitives.Barrier:
        """Return a place where `parties` processes wait for each other."""
        self._begin()
        return primitives.Barrier(parties, action, timeout, ctx=self.get_context())

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """Return a value in shared memory with a lock (True for a new RLock, False for none)."""
        self._begin()
        from polyproc._synchronize.typed import Value

        return Value(typecode_or_type, *args, lock=lock)

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        """Return an array in shared memory with a lock (True for a new RLock, False for none)."""
        self._begin()
        from polyproc._synchronize.typed import Array

        return Array(typecode_or_type, size_or_initializer, lock=lock)

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """Return a ctypes object in shared memory."""
        from polyproc._synchronize.typed import RawValue

        return RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """Return a ctypes array in shared memory."""
        from polyproc._synchronize.typed import RawArray

        return RawArray(typecode_or_type, size_or_initializer)

    def Queue(self, maxsize: int = 0) -> queue.Queue[Any]:
        """Return a queue for any number of producers and consumers."""
        self._begin()
        from polyproc._queues.queue import Queue

        return Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize: int = 0) -> queue.JoinableQueue[Any]:
        """Return a queue that counts its items until they are done."""
        self._begin()
        from polyproc._queues.queue import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self) -> queue.SimpleQueue[Any]:
        """Return a queue without a thread."""
        self._begin()
        from polyproc._queues.queue import SimpleQueue

        return SimpleQueue(ctx=self.get_context())

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        max_memory_per_child: int | str | None = None,
        idle_timeout: float | None = None,
    ) -> pool.Pool:
        """Return a pool of worker processes: see `polyproc.pool.Pool`."""
        Pool = _pool_class(self.get_start_method())
        return Pool(
            processes,
            initializer,
            initargs,
            maxtasksperchild,
            self.get_context(),
            max_memory_per_child=max_memory_per_child,
            idle_timeout=idle_timeout,
        )

    def allow_connection_pickling(self) -> None:
        """Do nothing: connections can be pickled without it. As in the standard library, to be called freely."""

    def set_executable(self, executable: object) -> None:
        """Set the path of the Python interpreter to use for children."""
        from polyproc._platform.interpreter import interpreter

        interpreter.set_executable(executable)

    def set_forkserver_preload(self, module_names: list[str], *, on_error: str = "warn") -> None:
        """Set the modules that the fork server imports before it forks.

        Args:
            module_names: module names; "__main__" stands for the main module.
            on_error: for a module that cannot be imported: "ignore" it, "warn" at the first start, or "fail" it.
        """
        from polyproc._forkserver.fork_server import forkserver

        forkserver.set_forkserver_preload(module_names, on_error=on_error)

    def get_context(
        self, method: str | None = None, *, preload: Sequence[str] | None = None, **options: Any
    ) -> BaseContext:
        """Return the context of a start method, or this one; or that of an engine, for processes on other hosts.

        Args:
            method: a start method; None for this context's; or an engine: "command", "ray".
            preload: for spawn, opts into a warm spare: after each start an interpreter is started ahead, imports
                these modules and the main module, and waits to be the next child. It costs an idle process of some
                10 MB and saves nearly all of a start's time. For an engine: what the fork servers there import first.
            options: an engine's, and of what is started by it.

        Raises:
            ValueError: an unknown method, or one that has no spares.
            ProcessError: what an engine needs is not installed.
        """
        if method is not None and method not in self._contexts:
            return self._context_of_engine(method, options if preload is None else {**options, "preload": preload})
        if options:
            raise TypeError(f"get_context() got options that are for engines alone: {', '.join(options)}")
        if method is None and preload is None:
            return self
        found = self if method is None else self._contexts[method]
        if preload is None:
            return found
        from polyproc._forkserver.fork_server import check_names

        check_names(preload, "preload")
        return found.with_spares(list(preload))

    def _context_of_engine(self, name: object, options: dict[str, Any]) -> BaseContext:
        from polyproc._hosts.host_engine import find_engine

        if isinstance(name, str) and find_engine(name) is not None:
            from polyproc._hosts.remote_context import make_context

            return make_context(name, options)
        raise said("unknown_method", name, list(self._contexts))

    def with_spares(self, modules: list[str]) -> BaseContext:
        """Return this context with warm spares; for spawn."""
        raise ValueError(f"preload is for spawn, not for {self.get_start_method()!r}: see set_forkserver_preload")

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """Return the name of this context's start method."""
        return self._name

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Raise ValueError: this context has its method."""
        name = self.get_start_method()
        raise ValueError(
            f"cannot set start method of concrete context: this one's is {name!r}; get_context(...) gives another"
        )

    @property
    def reducer(self) -> Any:
        """The module-like object that pickles for other processes."""
        from polyproc._pickling import pickler

        return pickler


def _managers_class(method: str | None) -> type[SyncManager]:
    """Return the class of managers; while it is loaded, the fork server that theirs comes from comes up."""
    if method == "forkserver":
        from polyproc._start.early_interpreter import begin_fork_server

        begin_fork_server()
    return without_collecting(_load_managers_class)


def _load_managers_class() -> type[SyncManager]:
    from polyproc._managers.manager import SyncManager

    return SyncManager


def _pool_class(method: str | None) -> type[pool.Pool]:
    """Return the class of pools; while it is loaded, the fork server that pools of a start method need comes up."""
    if method != "fork" and HAVE_FORK:
        from polyproc._start.early_interpreter import early

        early.begin_for_pool(method)
    return without_collecting(_load_pool_class)


def _load_pool_class() -> type[pool.Pool]:
    from polyproc._pool.pool import Pool

    return Pool


# The start methods.


@public("context")
class ForkContext(BaseContext):
    """Processes are copies of this one."""

    _name = "fork"
    Process: ClassVar[type[ForkProcess[Any]]] = ForkProcess


@public("context")
class SpawnContext(BaseContext):
    """Processes are fresh interpreters."""

    _name = "spawn"
    Process: ClassVar[type[SpawnProcess[Any]]] = SpawnProcess

    def with_spares(self, modules: list[str]) -> BaseContext:
        """Return a spawn context whose next child is started ahead."""
        from polyproc._start.spare import Spares

        made = type(self)()
        made.Process = launched_by(Spares(modules), SpawnProcess)  # type: ignore[misc]  # the class of this one context
        return made


@public("context")
class ForkServerContext(BaseContext):
    """Processes are copies of a fork server."""

    _name = "forkserver"
    Process: ClassVar[type[ForkServerProcess[Any]]] = ForkServerProcess
    _has_begun = False

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            from polyproc._start.early_interpreter import begin_fork_server

            begin_fork_server()


_all: dict[str, type[BaseContext]] = {"fork": ForkContext, "spawn": SpawnContext, "forkserver": ForkServerContext}
contexts: dict[str, BaseContext] = {name: _all[name]() for name in start_methods()}
BaseContext._contexts = contexts


# The default context.


@public("context")
class DefaultContext(BaseContext):
    """The context of the module-level names: its start method is chosen once, at the latest by its first use."""

    Process: ClassVar[type[process.Process[Any]]] = Process

    @property
    def _actual_context(self) -> BaseContext | None:
        return None if process_state.start_method is None else contexts[process_state.start_method]

    @_actual_context.setter
    def _actual_context(self, context: BaseContext | None) -> None:
        process_state.start_method = None if context is None else context._name

    def _begin(self) -> None:
        contexts[process_state.start_method or start_methods()[0]]._begin()  # which chooses none

    def get_context(
        self, method: str | None = None, *, preload: Sequence[str] | None = None, **options: Any
    ) -> BaseContext:
        """Return the context of a start method; without a name, the one that is in use, which is thereby chosen.

        `preload`, for spawn, opts into a warm spare: see BaseContext.get_context.
        """
        if method is not None or preload is not None or options:
            return super().get_context(method, preload=preload, **options)
        return contexts[chosen_method()]

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Choose the start method, once. Raises RuntimeError if it has been chosen, unless forced.

        In a child that imports its parent's unguarded main module it does nothing: the parent has chosen.
        """
        is_ignored = process_state.importing_main and method is not None
        if process_state.start_method is not None and not force and not is_ignored:
            text = "context has already been set"
            raise RuntimeError(said("chosen_before", text, process_state.start_method))
        if method is not None:
            self.get_context(method)  # raises for a name that is none
        if is_ignored:
            return
        process_state.start_method = self.get_context(None)._name if method is None and not force else method

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """Return the name of the start method; None if none was chosen and that is allowed."""
        return process_state.start_method if allow_none else self.get_context()._name

    def get_all_start_methods(self) -> list[str]:
        """Return the start methods of this system, the default first."""
        return start_methods()


default_context: DefaultContext = DefaultContext()


def force_start_method(method: str | None) -> None:
    """Choose the start method, whatever was chosen before."""
    default_context.set_start_method(method, force=True)


# Objects of main that come back from a child name their module __mp_main__.
if "__main__" in sys.modules:
    sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
