"""The fork servers that this process has started: the start method's, and the one of its pools by spawn.

Each is started when it is first needed, and makes children for starts that follow, one after the other. A pool says
beforehand how many (`expect`); and when it ends, that as many may wait for the next one (`keep`).
"""

from __future__ import annotations

import gc
import os
import threading
import time

from polyproc._base.modules import Later, loaded
from polyproc._base.process_state import log
from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._cleanup import run_finalizers
from polyproc._forkserver.client import Forked, ForkServerClient, new_comm
from polyproc._platform.circumstances import Circumstances, changes_since, environ, own_environ
from polyproc._platform.handles import HeldBack
from polyproc._platform.interpreter import command_line, starter
from polyproc._platform.posix import HAVE_FORK
from polyproc._process.child_life import lifeline
from polyproc._process.preparation import capture, describe_main, pack_objects
from polyproc._process.receiving import check_start
from polyproc._start.early_interpreter import EarlyInterpreter, can_start_early, common_modules, early, is_plain
from polyproc._start.protocol import AHEAD, LATER, socketpair
from polyproc._start.spawn import start_program

if TYPE_CHECKING:
    from polyproc._process.process import BaseProcess
    from polyproc._start.child import Child

warnings: Any = Later("warnings")

# What children load of ours if this process has it: each is loaded once, before the first of them.
_CHILDREN_HAVE = (
    "polyproc._pickling.pickler",
    "polyproc._synchronize.primitives",
    "polyproc._memory.block",
    "polyproc._synchronize.typed",
    "polyproc._connection.connection",
    "polyproc._queues.queue",
    "polyproc._workers.core_channels",
    "polyproc._workers.pipe_channels",
    "polyproc._workers.worker",
    "polyproc._managers.proxies",
    "polyproc._managers.manager",
    "polyproc._memory.segment",
)
_TRIES = 3
_IN_A_ROW = 0.01  # seconds
_MAX_AHEAD = 4  # of so many the socket holds orders and answers, whoever is slow; and so many wait for another pool
_ON_ERROR = ("ignore", "warn", "fail")


def check_names(names: Any, what: str) -> None:
    """Raise TypeError unless it is a list of the names of modules."""
    if isinstance(names, str):
        raise TypeError(f"{what} must be a list of strings, and not the string {names!r}: write [{names!r}]")
    for name in names:
        if type(name) is not str:
            raise TypeError(f"{what} must be a list of strings, and {name!r} in it is none")


def _children_have() -> list[str]:
    return [name for name in _CHILDREN_HAVE if loaded(name) is not None]


class NotOurs(Exception):
    """A fork server's children are its own."""


class ForkServer:
    """This process's fork server for its children. One instance, `forkserver`."""

    _method = "forkserver"
    _has_main = True  # whether it may import our main module

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: ForkServerClient | None = None
        self._expected = 0  # starts of a pool that are to follow
        self._preload: list[str] = ["__main__"]
        self._on_error = "warn"
        self._environ: dict[bytes, bytes] = {}
        self._circumstances: Circumstances | None = None  # in which it was started
        self._report: tuple[list[tuple[str, str]], bool] | None = None
        self._has: set[str] = set()  # the modules that it was told to load
        self._last_start: float | None = None
        self._was_near = False  # whether that followed closely upon the one before it

    # -- what programs call ----------------------------------------------------------------------------------------

    def set_forkserver_preload(self, modules_names: list[str], *, on_error: str = "warn") -> None:
        """Set the modules that a fork server imports before it forks; takes effect when one is started.

        Args:
            modules_names: module names; "__main__" stands for the main module of this process.
            on_error: for a module that cannot be imported: "ignore" it, "warn" at the first start, or "fail" it.
        """
        check_names(modules_names, "module_names")
        if on_error not in _ON_ERROR:
            raise ValueError(f"on_error must be 'ignore', 'warn', or 'fail', not {on_error!r}")
        self._preload = list(modules_names)
        self._on_error = on_error

    def ensure_running(self) -> None:
        """Start a fork server unless one runs."""
        with HeldBack(), self._lock:
            self._ensure_running()

    # -- the fork server ----------------------------------------------------------------------------------------------

    @property
    def _forkserver_pid(self) -> int | None:
        return None if self._client is None else self._client.pid

    def is_there(self) -> bool:
        """Return whether this process has one."""
        return self._client is not None

    def _ensure_running(self) -> ForkServerClient:
        if self._client is not None:
            if not self._client.has_ended():
                self._load_more(self._client)
                return self._client
            self._drop()
        started = early.take(self._method)
        if started is not None and not started.fits():
            started.end()
            started = None
        if started is None and can_start_early():
            check_start()
            started = EarlyInterpreter("run_forkserver", () if self._has_main else common_modules())
        if started is None:
            client = self._start_without()
        else:
            try:
                job = self._describe()
                started.give(pack_objects(job))
                self._environ, self._circumstances = started.environ, started.circumstances
                client = ForkServerClient(started.channel, started.pid, job["comm"])
            except BaseException:
                self._circumstances = None
                started.end()
                raise
        log.debug("fork server started, pid %d", client.pid)
        self._client, self._report = client, None
        return client

    def _describe(self) -> dict[str, Any]:
        """Return what a fork server is told."""
        job = capture("ForkServer")
        job.update(client=os.getpid(), comm=new_comm())
        job["preload"] = [name for name in self._preload if name != "__main__"]
        job["have"] = _children_have()
        self._has = set(job["have"])
        main = describe_main() if self._has_main and "__main__" in self._preload else None
        if main is not None:
            job["preload_main"] = main
        return job

    def _load_more(self, client: ForkServerClient) -> None:
        """Make it load what this process has loaded meanwhile, as far as its children need that."""
        new = [name for name in _children_have() if name not in self._has]
        if new:
            self._has.update(new)
            client.load(new)

    def _start_without(self) -> ForkServerClient:
        """Start a fork server whose job is known before."""
        ours, theirs = socketpair()
        try:
            job = self._describe()
            job.update(socket=theirs.fileno(), lifeline=lifeline.open())
            self._environ = environ().copy()
            self._circumstances = Circumstances()
            pid = start_program(job, "run_forkserver", [theirs.fileno(), job["lifeline"]])
        except BaseException:
            ours.close()
            self._forget_circumstances()
            raise
        finally:
            theirs.close()
        return ForkServerClient(ours, pid, job["comm"])

    def _drop(self) -> None:
        """Close a fork server that has ended, or shall end, and the child that waits."""
        client, self._client, self._expected = self._client, None, 0
        self._forget_circumstances()
        if client is not None:
            if self._report is None and len(client):  # what it says next is its report, and not of those children
                client.has_unborn = True
                client.abandon()
            client.end()

    def _forget_circumstances(self) -> None:
        if self._circumstances is not None:
            self._circumstances.close()
            self._circumstances = None

    def _stop(self) -> None:
        """End the fork server, and one that comes up, and wait for them."""
        with HeldBack(), self._lock:
            self._drop()
            started = early.take(self._method)
            if started is not None:
                started.end()

    def after_fork_in_child(self) -> None:
        """Forget, in a forked child, the parent's fork server: its children would be the parent's."""
        self._lock = threading.Lock()
        if self._client is not None:
            self._client.abandon()
            self._client = None
            self._forget_circumstances()
        self._last_start = None
        self._expected = 0

    # -- a start ---------------------------------------------------------------------------------------------------

    def start(self, job: dict[str, Any], fds: list[int]) -> Forked:
        """Give a child its job and `fds`.

        Raises:
            OSError: what fork said in the fork server; or no fork server could be started.
        """
        with self._lock:
            self._see_to_circumstances()
            for _ in range(_TRIES):
                try:
                    forked = self._take()
                except (EOFError, ConnectionError):
                    log.info("the fork server (pid %s) died: starting another", self._forkserver_pid)
                    self._drop()
                    continue
                if forked.give(self._complete(job), fds):
                    self._order_next()
                    return forked
        raise OSError(f"the fork server died {_TRIES} times in a row before it could fork")

    def expect(self, children: int) -> None:
        """Order children for starts that follow at once; more than a few are made as they are started."""
        with HeldBack(), self._lock:
            self._see_to_circumstances()
            try:
                client = self._ensure_running()
                self._expected = children
                client.hurry()
                while len(client) < min(children, _MAX_AHEAD):
                    client.order()
            except OSError:  # no descriptor left, or it is gone: the start will see
                pass

    def keep(self, children: int) -> None:
        """Order children that wait for the starts of another pool. It may be called from anywhere."""
        if starter.is_replaced() or not self._lock.acquire(False):
            return
        try:
            while self._client is not None and len(self._client) < min(children, _MAX_AHEAD):
                self._client.order(LATER)
        except OSError:
            pass
        finally:
            self._lock.release()

    def _see_to_circumstances(self) -> None:
        """Drop a fork server that has not what it would inherit now."""
        if self._circumstances is not None and not self._circumstances.are_the_same():
            log.info("the fork server (pid %s) is out of date: starting another", self._forkserver_pid)
            self._drop()

    def _take(self) -> Forked:
        """Return a child that waits for a job."""
        client = self._client
        if client is None or not len(client):
            client = self._ensure_running()
            client.order()
        self._read_report(client)
        return client.collect()

    def _order_next(self) -> None:
        """Order one child more, to wait for the next start.

        While the one that was started runs, if three have followed closely upon each other; else later, so that it has
        the processors for itself. A program that starts only one has no use for it; nor has a pool, whose workers were
        ordered together: it would take a processor from the last of them. Nor has a tracer, which has put its own
        program before ours: it would wait for the process that waits.
        """
        last, self._last_start = self._last_start, time.monotonic()
        if self._expected:
            self._expected -= 1
            return
        if last is None or self._client is None or starter.is_replaced():
            return
        was_near, self._was_near = self._was_near, self._last_start - last < _IN_A_ROW
        try:
            self._client.order(AHEAD if was_near and self._was_near else LATER)
        except OSError:  # no descriptor left, or the fork server is gone: the next start will see
            pass

    def _complete(self, job: dict[str, Any]) -> dict[str, Any]:
        """Add to a job what this fork server's children do not have: our main module, our environment of now."""
        has_main = self._report is not None and self._report[1]
        if not has_main and (main := describe_main()) is not None:
            job["main"] = main
        if changes := changes_since(self._environ):
            job["environ"] = changes
        return job

    def _read_report(self, client: ForkServerClient) -> tuple[list[tuple[str, str]], bool]:
        if self._report is None:
            self._report, _ = client.receive()
            for name, text in self._report[0]:
                if self._on_error == "fail":
                    self._drop()
                    raise ImportError(f"Failed to preload module {name!r} in the fork server", name=name) from None
                if self._on_error == "warn":
                    message = f"Failed to preload module {name!r} in the fork server:\n{text}"
                    warnings.warn(message, RuntimeWarning, stacklevel=7)
        return self._report


class FreshForkServer(ForkServer):
    """The one for pools by spawn: an interpreter that has run nothing of the program's. One, `fresh_fork_server`.

    Its children are as those that are started one by one: each imports our main module itself.
    """

    _method = "spawn"
    _has_main = False

    def __init__(self) -> None:
        super().__init__()
        self._preload = []
        self._is_refused = False  # whether its children are not ours on this system
        self._surroundings: object = None

    def can_be(self) -> bool:
        """Return whether it has run nothing that a Python of its own would run anew, and its children are ours."""
        return not self._is_refused and is_plain()

    def launch(self, process_obj: BaseProcess[Any]) -> Child:
        """Start a process object; as a Python of its own where this cannot be."""
        from polyproc._start.spawn import SpawnChild
        from polyproc._start.waiting_child import FreshChild

        if self.can_be():
            try:
                return FreshChild(process_obj)
            except NotOurs:
                log.info("children of a fork server are not this process's: starting one by one")
            except OSError as error:
                log.info("the fork server made no child (%s): starting one by one", error)
        return SpawnChild(process_obj)

    def _take(self) -> Forked:
        forked = super()._take()
        if forked.status_fd >= 0:
            self._is_refused = True
            forked.give_up()
            raise NotOurs
        return forked

    def _see_to_circumstances(self) -> None:
        now = own_environ().copy(), command_line("")
        if self._client is not None and now != self._surroundings:
            log.info("the fork server (pid %s) is out of date: starting another", self._forkserver_pid)
            self._drop()
        self._surroundings = now
        super()._see_to_circumstances()


forkserver = ForkServer()
fresh_fork_server = FreshForkServer()
if HAVE_FORK:  # else it is only loaded, with what is public
    for _server in (forkserver, fresh_fork_server):
        os.register_at_fork(after_in_child=_server.after_fork_in_child)


def cleanup_tests() -> None:
    """Stop what a test suite may have left running, and run all finalizers. CPython's harness calls it."""
    forkserver._stop()
    fresh_fork_server._stop()
    run_finalizers()
    gc.collect()
