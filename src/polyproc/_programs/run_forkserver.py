"""The program of the fork server: import, then fork on request. Started by `fork_server.py`; nobody imports it.

    ready report -> fork_loop.Loop; in a child: job.perform_and_exit

It does not hear of SIGINT, and ends when its client does also while it is busy importing: the lifeline kills it.
"""

from __future__ import annotations

import _pickle  # noqa: F401  (what nearly every child needs)
import _signal
import errno
import gc
import os
import sys
from _frozen_importlib_external import PathFinder

from polyproc._base.native import native
from polyproc._base.process_state import process_state
from polyproc._forkserver.fork_loop import Loop, receive_job
from polyproc._platform.posix import fork
from polyproc._process.black_box import keep
from polyproc._process.child_life import flush_streams, format_exception, hang_on
from polyproc._process.job import apply_preparation, import_main, perform_and_exit
from polyproc._programs.rehearsal import rehearse
from polyproc._start import protocol

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any


def main(job: dict[str, Any]) -> None:
    """Serve; in a child, live its life. Never returns."""
    hears = "hears_interrupt" in job and _signal.getsignal(_signal.SIGINT) != _signal.SIG_IGN
    # SIGINT is blocked here: one that comes to a child after its job is there for it to hear.
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    handlers = {int(_signal.SIGINT): _signal.default_int_handler} if hears else {}
    comm = job["comm"]

    def at_birth(is_due: bool) -> None:  # it bears its fork server's name until it has a real job
        if not is_due:
            rehearse(lambda channel: receive_job(channel, os.dup(channel.fileno()), comm, {}))

    loop = Loop(job["socket"], job["lifeline"], job["client"], comm, at_birth, handlers)
    for fd in (job["socket"], job["lifeline"]):
        os.set_inheritable(fd, False)
    hang_on(os.dup(loop.lifeline_fd))
    keep("stdout")
    keep("stderr")
    main_description = job.pop("preload_main", None)
    process_state.receiving = True
    apply_preparation(job)
    loaded = set(sys.modules)
    report = _preload(job["preload"], main_description)
    if getattr(sys, "lazy_modules", None):
        _make_lazy_imports(loaded)
    for name in job["have"]:
        __import__(name)
    process_state.receiving = False
    PathFinder.find_spec("polyproc_looks_into_every_folder_once")  # each child would list them anew
    _stop_threads()
    flush_streams()
    gc.freeze()
    try:
        protocol.send(loop.sock, report, [])
    except ConnectionError:
        os._exit(0)
    child = loop.serve()
    perform_and_exit(child, child.get("parent_sentinel"))


def _preload(names: list[str], main_description: Any) -> tuple[list[tuple[str, str]], bool]:
    """Import; return what failed, and whether main is there."""
    failed = []
    has_main = False
    if main_description is not None:
        try:
            import_main(*main_description)
            has_main = True
        except BaseException:  # noqa: BLE001  (each child will import it, and fail with this error, where it is seen)
            pass
    for name in names:
        try:
            __import__(name)
        except BaseException as error:  # noqa: BLE001  (a module may raise anything, SystemExit too; the client hears of it)
            failed.append((name, format_exception(error)[-4000:]))
    return failed, has_main


def _make_lazy_imports(loaded: set[str]) -> None:
    """Make the imports that modules were to make later (PEP 810, 3.15): each child would make them anew.

    Those of what the preloads brought along, and of what that brings; but not the standard library's own.
    """
    from _types import LazyImportType  # type: ignore[import-not-found]

    loaded -= {"__main__", "__mp_main__"}
    while todo := {name for name in sys.modules if name not in loaded}:
        loaded |= todo
        for name in todo:
            scope = getattr(sys.modules.get(name), "__dict__", {})
            if name.partition(".")[0] not in sys.stdlib_module_names:
                for key, value in list(scope.items()):
                    if type(value) is LazyImportType:
                        try:
                            scope[key] = value.resolve()
                        except BaseException:  # noqa: BLE001  (a child that needs it raises it again)
                            pass


def _stop_threads() -> None:
    """Stop the threads of libraries that handle fork (BLAS, OpenMP), by one fork that does nothing."""
    if native.core is not None and native.core.clone_ready() == errno.EBUSY:
        pid = fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
