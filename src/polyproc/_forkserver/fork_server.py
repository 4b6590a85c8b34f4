"""The start method forkserver: a server that has imported what its children need, started when it is first needed."""

from __future__ import annotations

import gc
import os
import threading
import time

from polyproc._base.modules import Later, loaded
from polyproc._base.process_state import log
from polyproc._base.typing import Any
from polyproc._cleanup import run_finalizers
from polyproc._forkserver.client import Forked, ForkServerClient, new_comm
from polyproc._platform.circumstances import Circumstances, environ
from polyproc._platform.interpreter import starter
from polyproc._platform.posix import HAVE_FORK
from polyproc._process.bootstrap import lifeline
from polyproc._process.preparation_data import capture, describe_main
from polyproc._start.protocol import AT_ONCE, LATER, socketpair
from polyproc._start.spawn import start_program

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
_ON_ERROR = ("ignore", "warn", "fail")


def check_names(names: Any, what: str) -> None:
    """Raise TypeError unless it is a list of the names of modules."""
    if isinstance(names, str):
        raise TypeError(f"{what} must be a list of strings, and not the string {names!r}: write [{names!r}]")
    for name in names:
        if type(name) is not str:
            raise TypeError(f"{what} must be a list of strings, and {name!r} in it is none")


class ForkServer:
    """This process's fork server for its children. One instance, `forkserver`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: ForkServerClient | None = None
        self._preload: list[str] = ["__main__"]
        self._on_error = "warn"
        self._environ: dict[bytes, bytes] = {}
        self._circumstances: Circumstances | None = None  # in which it was started
        self._report: tuple[list[tuple[str, str]], bool] | None = None
        self._last_start: float | None = None

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
        with self._lock:
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
                return self._client
            self._drop()
        ours, theirs = socketpair()
        try:
            job = capture("ForkServer")
            job.update(socket=theirs.fileno(), lifeline=lifeline.open(), client=os.getpid(), comm=new_comm())
            job["preload"] = [name for name in self._preload if name != "__main__"]
            job["have"] = [name for name in _CHILDREN_HAVE if loaded(name) is not None]
            main = describe_main() if "__main__" in self._preload else None
            if main is not None:
                job["preload_main"] = main
            self._environ = environ().copy()
            self._circumstances = Circumstances()
            pid = start_program(job, "run_forkserver", [theirs.fileno(), job["lifeline"]])
        except BaseException:
            ours.close()
            self._forget_circumstances()
            raise
        finally:
            theirs.close()
        log.debug("fork server started, pid %d", pid)
        self._client, self._report = ForkServerClient(ours, pid, job["comm"]), None
        return self._client

    def _drop(self) -> None:
        """Close a fork server that has ended, or shall end, and the child that waits."""
        client, self._client = self._client, None
        self._forget_circumstances()
        if client is not None:
            client.end()

    def _forget_circumstances(self) -> None:
        if self._circumstances is not None:
            self._circumstances.close()
            self._circumstances = None

    def _stop(self) -> None:
        """End the fork server and wait for it."""
        with self._lock:
            self._drop()

    def after_fork_in_child(self) -> None:
        """Forget, in a forked child, the parent's fork server: its children would be the parent's."""
        self._lock = threading.Lock()
        if self._client is not None:
            self._client.abandon()
            self._client = None
            self._forget_circumstances()
        self._last_start = None

    # -- a start ---------------------------------------------------------------------------------------------------

    def start(self, job: dict[str, Any], fds: list[int]) -> Forked:
        """Give a child its job and `fds`.

        Raises:
            OSError: what fork said in the fork server; or no fork server could be started.
        """
        with self._lock:
            if self._circumstances is not None and not self._circumstances.are_the_same():
                log.info("the fork server (pid %s) has what was inherited then: starting another", self._forkserver_pid)
                self._drop()
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

    def _take(self) -> Forked:
        """Return a child that waits for a job."""
        client = self._client
        if client is None or not len(client):
            client = self._ensure_running()
            self._read_report(client)
            client.order()
        return client.collect()

    def _order_next(self) -> None:
        """Order one child more, to wait for the next start.

        While the one that was started runs, if starts follow closely upon each other; else later, so that it has the
        processors for itself. A program that starts only one has no use for it. Nor has a tracer, which has put its own
        program before ours: it would wait for the process that waits.
        """
        last, self._last_start = self._last_start, time.monotonic()
        if last is None or self._client is None or starter.is_replaced():
            return
        try:
            self._client.order(AT_ONCE if self._last_start - last < _IN_A_ROW else LATER)
        except OSError:  # no descriptor left, or the fork server is gone: the next start will see
            pass

    def _complete(self, job: dict[str, Any]) -> dict[str, Any]:
        """Add to a job what this fork server's children do not have: our main module, our environment of now."""
        has_main = self._report is not None and self._report[1]
        if not has_main and (main := describe_main()) is not None:
            job["main"] = main
        if environ() != self._environ:
            job["environ"] = environ().copy()
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


forkserver = ForkServer()
if HAVE_FORK:  # else it is only loaded, with what is public
    os.register_at_fork(after_in_child=forkserver.after_fork_in_child)


def cleanup_tests() -> None:
    """Stop what a test suite may have left running, and run all finalizers. CPython's harness calls it."""
    forkserver._stop()
    run_finalizers()
    gc.collect()
