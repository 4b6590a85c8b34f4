"""Process: a state machine over the handle of a started child.

    made --start()--> started --(its end is seen by poll or wait)--> ended --close()--> closed

Also the objects of the main process and of a child's parent, and the functions that look around.
"""

from __future__ import annotations

import sys
from _thread import RLock

from polyproc._base.modules import kind_of, loaded, os, public, remake, said
from polyproc._base.process_state import CHILDREN, DAEMONS, exit_sequence, log, process_state
from polyproc._platform.posix import start_methods
from polyproc._process.child_life import MainReached, run_child

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
    from typing import Any, ClassVar, Generic, TypeVar

    from polyproc._start.async_process import AsyncProcess
    from polyproc.abc import ChildHandle

    T = TypeVar("T")

    class _Generic(Generic[T]):
        pass
else:
    T = None

    class _Generic:
        def __class_getitem__(cls, item: object) -> type:
            return cls


@public("process")
class AuthenticationString(bytes):
    """A key that is not pickled except to a child that is being started."""

    def __new__(cls, key: Any) -> AuthenticationString:
        return super().__new__(cls, key if isinstance(key, bytes) else said("key", key))

    def __reduce__(self) -> tuple[Any, ...]:
        sending = loaded("polyproc._pickling.sending")
        if sending is None or sending.current() is None:  # type: ignore[attr-defined]
            raise TypeError("Pickling an AuthenticationString object is disallowed for security reasons")
        return _key, (bytes(self),)


def _key(key: bytes) -> AuthenticationString:
    """Return a key that has come here: the class is not looked for in the public module."""
    return AuthenticationString(key)


# The numbers of a process's children, from one on: each thread another, also where there is no GIL.
#
# They are its object's: a new process begins anew by having another. No itertools.count, which a bare child spares.

_ALL = range(1, 1 << 62)


def _start_counting(parent: Any) -> Iterator[int]:
    has_gil = getattr(sys, "_is_gil_enabled", None)  # under which nothing comes between
    numbers = iter(_ALL) if has_gil is None or has_gil() else _OneAtATime()
    return vars(parent).setdefault("_numbers", numbers)  # type: ignore[no-any-return]


class _OneAtATime:
    def __init__(self) -> None:
        self._numbers = iter(_ALL)
        self._lock = RLock()  # taken again where a signal handler makes a process

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        # With a limit for a child that was forked, outside of us, while another thread was here.
        is_mine = self._lock.acquire(timeout=1.0)
        try:
            return next(self._numbers)
        finally:
            if is_mine:
                self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()  # a lock is not pickled


@public("process")
class BaseProcess(_Generic[T]):
    """A function, or an overridden `run`, in a process of its own. As in the standard library, with additions.

    `result` and `exception` give back what the target returned or raised; `stop` ends a process step by step.
    """

    state: Any = None  # of a pool's worker: what its generator initializer has yielded
    _start_method: ClassVar[str | None] = None
    _popen: ChildHandle | None
    _is_starting = False
    _config: dict[str, Any]

    def __init__(
        self,
        group: None = None,
        target: Callable[..., T] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] = {},
        *,
        daemon: bool | None = None,
    ) -> None:
        assert group is None, said("has_group", group)
        parent = process_state.current
        count = next(vars(parent).get("_numbers") or _start_counting(parent))
        self._identity: tuple[int, ...] = (*parent._identity, count)
        number = count if len(self._identity) == 1 else ":".join(map(str, self._identity))
        self._config = parent._config.copy()
        if not isinstance(parent, BaseProcess):  # a Celery worker's, with a key that only its own launchers pickle
            self._config["authkey"] = AuthenticationString(parent.authkey)
        self._parent_pid: int | None = os.getpid()
        self._parent_name = parent._name
        self._popen = None
        self._closed = False
        self._target: Callable[..., T] | None = target
        self._args = args if type(args) is tuple else said("arguments", args, "args", target)
        self._kwargs = dict(kwargs) if type(kwargs) is dict else said("keywords", kwargs)
        self._name: str = name or f"{type(self).__name__}-{number}"
        if daemon is not None:
            self.daemon = daemon

    @staticmethod
    def _Popen(process_obj: BaseProcess[Any]) -> ChildHandle:
        raise NotImplementedError

    def _check_closed(self) -> None:
        if self._closed:
            raise ValueError(f"process object is closed: of {self._name} nothing can be asked after close()")

    # -- life ------------------------------------------------------------------------------------------------------

    def run(self) -> T | None:
        """Call the target with its arguments; a subclass may override this. Runs in the child."""
        if self._target:
            if not callable(self._target):
                raise said("no_target", self._target)
            return self._target(*self._args, **self._kwargs)
        return None

    def start(self) -> None:
        """Start the child; does not wait for it to run.

        Raises:
            AssertionError: started before, not this process's own, or this process is a daemon.
            OSError: the system could not make a process; nothing is left behind, and a later start may work.
            Exception: what pickling raised, with a note that names the attribute, for spawn and forkserver.
        """
        self._check_start()
        if process_state.children:
            process_state.unjoined += reap()
        self._is_starting = True
        try:
            self._popen = self._Popen(self)
        finally:
            del self._is_starting
        self._sentinel = self._popen.sentinel
        # A target may hold the process: let the reference go, now that the child has it.
        del self._target, self._args, self._kwargs
        process_state.children.add(self)
        if process_state.unjoined >= _MANY or len(process_state.children) >= _MANY:
            from polyproc._start.reaper import reaper

            reaper.look(self)

    def _check_start(self) -> None:
        """Raise what `start` raises where there can be no child."""
        self._check_closed()
        assert self._popen is None, f"cannot start a process twice: for another {self._name} make another Process"
        assert self._parent_pid == os.getpid(), said("not_started_here", self)
        if process_state.current._config.get("daemon"):
            assert may_have_children(process_state.current), said("is_daemon", process_state.current)
        if process_state.importing_main:
            raise MainReached

    def join(self, timeout: float | None = None) -> None:
        """Wait until the child has ended, at most `timeout` seconds; zero or less does not wait."""
        if self._closed:
            self._check_closed()
        assert self._parent_pid == os.getpid(), said("not_own", "can only join a child process", self)
        assert self._popen is not None, said("not_started", "can only join a started process", self, "join()")
        if self._popen.wait(timeout) is not None:
            process_state.children.discard(self)

    def is_alive(self) -> bool:
        """Return whether the child runs; true from the moment that `start` is called."""
        self._check_closed()
        if self is process_state.current:
            return True
        assert self._parent_pid == os.getpid(), said("not_own", "can only test a child process", self)
        popen = self._popen
        if popen is None:  # it is being started, by another thread or by what is being pickled now
            return self._is_starting
        if popen.poll() is None:
            return True
        process_state.children.discard(self)
        return False

    def terminate(self) -> None:
        """Send SIGTERM; nothing happens if the child has ended."""
        self._tell("terminate")

    def kill(self) -> None:
        """Send SIGKILL; nothing happens if the child has ended."""
        self._tell("kill")

    def interrupt(self) -> None:
        """Send SIGINT: a KeyboardInterrupt in the child's main thread."""
        self._tell("interrupt")

    def _tell(self, word: str) -> None:
        self._check_closed()
        if self._popen is None:
            raise said("no_signal", self, word)
        getattr(self._popen if word != "interrupt" else _handle(self), word)()

    def stop(self, grace: float = 5.0) -> int:
        """End the child step by step and wait for it: SIGINT, then SIGTERM, then SIGKILL, `grace` seconds in all.

        SIGINT and SIGTERM get half of the time each; a stopped process is continued. Its whole tree is killed: what
        its descendants started stays if they left the tree on purpose (a double fork).

        Returns:
            The exit code.
        """
        self._check_closed()
        assert self._parent_pid == os.getpid(), said("not_own", "can only stop a child process", self)
        assert self._popen is not None, said("not_started", "can only stop a started process", self, "stop()")
        from polyproc._start.child import stop

        code = stop(_handle(self), grace)
        process_state.children.discard(self)
        return int(code)

    def close(self) -> None:
        """Give back what this object holds; it cannot be used after. Raises ValueError while the child runs."""
        if self._popen is not None:
            if self._popen.poll() is None:
                text = "Cannot close a process while it is still running. You should first call join() or terminate()."
                raise ValueError(text)
            _handle(self).close()
            self._popen = None
            del self._sentinel
            process_state.children.discard(self)
        self._closed = True

    # -- what came of it -------------------------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> T:
        """Wait for the child's end, at most `timeout` seconds, and return what its target (or `run`) returned.

        Raises:
            Exception: what the target raised; its `__cause__` holds the traceback from there, as text.
            ProcessDied: it ended without a result: by a signal, `os._exit`, `sys.exit`.
            TimeoutError: it still runs.
        """
        returned, value = _outcome(self, timeout)
        if returned:
            return value  # type: ignore[no-any-return]
        raise value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait as `result` does; return what `result` would raise, or None if the target returned."""
        returned, value = _outcome(self, timeout)
        return None if returned else value

    @property
    def aio(self) -> AsyncProcess[T]:
        """The methods as coroutines, for asyncio and trio: `await process.aio.join()`."""
        from polyproc._start.async_process import AsyncProcess

        return AsyncProcess(self)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait, in asyncio or trio, for what `result` returns; a cancelled task stops waiting, the process goes on."""
        return self.aio.result().__await__()

    # -- attributes ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name, for people; it means nothing else."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        assert isinstance(name, str), f"name must be a string, and not {name!r}"
        self._name = name

    @property
    def daemon(self) -> bool:
        """Whether the child ends with its parent, however that ends. To be set before the start."""
        return bool(self._config.get("daemon", False))

    @daemon.setter
    def daemon(self, daemonic: bool) -> None:
        assert self._popen is None, said("has_started", self)
        self._config["daemon"] = daemonic

    @property
    def authkey(self) -> bytes:
        """The authentication key, inherited from the parent."""
        return self._config["authkey"]  # type: ignore[no-any-return]

    @authkey.setter
    def authkey(self, authkey: bytes) -> None:
        self._config["authkey"] = AuthenticationString(authkey)

    @property
    def exitcode(self) -> int | None:
        """The exit code, the negative number of the signal that ended it, or None before its end."""
        self._check_closed()
        if self is process_state.current or self._popen is None:
            return None
        return self._popen.poll()

    @property
    def ident(self) -> int | None:
        """The process id, None before the start."""
        self._check_closed()
        if self is process_state.current:
            return os.getpid()
        return None if self._popen is None else self._popen.pid

    pid = ident

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the process has ended: a pidfd where there are such."""
        self._check_closed()
        try:
            return self._sentinel
        except AttributeError:
            raise ValueError(said("not_started", "process not started", self, "sentinel")) from None

    def __repr__(self) -> str:
        from polyproc._process.description import describe

        return describe(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._popen is None:
            kind = kind_of(self)
            return (remake, (kind,), self.__dict__) if isinstance(kind, str) else super().__reduce_ex__(protocol)
        from polyproc._start.handle import reduce

        return reduce(self)

    # -- in the child ----------------------------------------------------------------------------------------------

    # The child's whole life, from here to the exit code. Tools wrap it by this name.
    _bootstrap = run_child


def _handle(process: BaseProcess[Any]) -> ChildHandle:
    """Return what our launchers give back, also for another's: that need only have what `start` is told to."""
    popen = process._popen
    assert popen is not None
    if hasattr(popen, "outcome"):
        return popen
    from polyproc._start.handle import ForeignChild

    return ForeignChild(popen)


def _outcome(process: BaseProcess[Any], timeout: float | None) -> tuple[bool, Any]:
    process.join(timeout)
    assert process._popen is not None  # join said so
    if process._popen.poll() is None:
        from polyproc._base.errors import TimeoutError

        raise TimeoutError(f"{process._name} (pid {process._popen.pid}) still runs after {timeout!r} s")
    return _handle(process).outcome()


def is_ours(process: object) -> bool:
    """Return whether a process object is ours: programs put others in the place of the current one."""
    return isinstance(process, BaseProcess)


def may_have_children(process: BaseProcess[Any]) -> bool:
    """Return whether a daemon may start others: only if it is a worker.

    A worker's children are daemons, too, and end with it. Celery's workers are processes of its own, which say that
    they are daemons.
    """
    return process._config.get("nests") or not is_ours(process)


_MANY = 8


@public("process")
class MainProcess(BaseProcess["Any"]):
    """The process that nobody of ours started."""

    def __init__(self) -> None:
        self._identity = ()
        self._name = "MainProcess"
        self._parent_pid = None
        self._popen = None
        self._closed = False
        self._config = {"authkey": AuthenticationString(os.urandom(32)), "semprefix": "/mp"}

    def close(self) -> None:
        """Do nothing: the main process cannot be closed."""


process_state.current = MainProcess()


def current_process() -> BaseProcess[Any]:
    """Return the object of the process that calls."""
    current: BaseProcess[Any] = process_state.current
    return current


def active_children() -> list[BaseProcess[Any]]:
    """Return the children that run; those that have ended are joined on the way."""
    reap()
    return _own_children()


def _own_children() -> list[BaseProcess[Any]]:
    """Return this process's children: one that somebody else has forked finds its parent's as well."""
    pid = os.getpid()
    return [child for child in list(process_state.children) if child._parent_pid == pid]


def reap() -> int:
    """Join the children that have ended; return how many."""
    found = [child for child in _own_children() if child._popen is not None and child._popen.poll() is not None]
    process_state.children.difference_update(found)
    return len(found)


def _end_daemons() -> None:
    if not process_state.children:
        return
    for child in active_children():
        if child.daemon and child._popen is not None:
            log.info("calling terminate() for daemon %s", child.name)
            child._popen.terminate()


def _join_children() -> None:
    if not process_state.children:
        return
    for child in active_children():
        log.info("calling join() for process %s", child.name)
        if child.daemon and child._popen is not None:
            # It was told to end; one that does not listen (stopped, or busy in C code) is not waited for for ever.
            from polyproc._start.child import finish

            finish(_handle(child))
        child.join()


exit_sequence.add(DAEMONS, _end_daemons)
exit_sequence.add(CHILDREN, _join_children)


# The Process classes: one for each start method, and the one that takes the default. What starts them stands above this
# package, and most children never start one: it is imported when it is needed.


@public("context")
class Process(BaseProcess[T]):
    """A process started by the default start method."""

    @staticmethod
    def _Popen(process_obj: BaseProcess[Any]) -> ChildHandle:
        return _CLASSES[chosen_method()]._Popen(process_obj)


@public("context")
class ForkProcess(BaseProcess[T]):
    """A process started by fork."""

    _start_method = "fork"

    @staticmethod
    def _Popen(process_obj: BaseProcess[Any]) -> ChildHandle:
        # Not `from`: that looks for a `__path__` in the module, and makes an error for its lack, each time.
        import polyproc._start.fork as launcher

        return launcher.ForkChild(process_obj)


@public("context")
class SpawnProcess(BaseProcess[T]):
    """A process started as a fresh interpreter."""

    _start_method = "spawn"

    @staticmethod
    def _Popen(process_obj: BaseProcess[Any]) -> ChildHandle:
        from polyproc._start.spawn import SpawnChild

        return SpawnChild(process_obj)


@public("context")
class ForkServerProcess(BaseProcess[T]):
    """A process started by the fork server."""

    _start_method = "forkserver"

    @staticmethod
    def _Popen(process_obj: BaseProcess[Any]) -> ChildHandle:
        from polyproc._start.early_interpreter import start_by_fork_server

        return start_by_fork_server(process_obj)


_CLASSES: dict[str, type[BaseProcess[Any]]] = {
    "fork": ForkProcess,
    "spawn": SpawnProcess,
    "forkserver": ForkServerProcess,
}


def chosen_method() -> str:
    """Return the default start method, which is thereby chosen if it was not."""
    if process_state.start_method is None:
        process_state.start_method = start_methods()[0]
    return process_state.start_method


def method_of(process: type[BaseProcess[Any]] | None) -> str | None:
    """Return the start method of one of these classes; None for a subclass, which may have a launcher of its own."""
    if process is Process:
        return chosen_method()
    return next((method for method, found in _CLASSES.items() if found is process), None)


def launched_by(launcher: Any, base: type[BaseProcess[Any]]) -> type[Any]:
    """Return `base` with a launcher of its own, which has a `launch`; in the child it is `base`."""

    class LaunchedProcess(base):  # type: ignore[misc, valid-type]
        _launcher = launcher

        @staticmethod
        def _Popen(process_obj: BaseProcess[Any]) -> ChildHandle:
            return launcher.launch(process_obj)  # type: ignore[no-any-return]

        def __reduce_ex__(self, protocol: Any) -> Any:
            if type(self) is not LaunchedProcess or self._popen is not None:
                return super().__reduce_ex__(protocol)
            return base.__new__, (base,), self.__dict__.copy()

    LaunchedProcess.__name__ = LaunchedProcess.__qualname__ = base.__name__
    return LaunchedProcess
