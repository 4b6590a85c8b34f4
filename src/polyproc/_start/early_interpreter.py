"""An interpreter that is started before its job is known: it comes up while its parent prepares that.

    parent   socketpair, file -> posix_spawn -> load what starts processes, write the job into the file -> its size
    child                        come up, load what children of ours need (run_early.py), wait ----------> do the job

A fork server is mostly the first process that a program starts, and the program has loaded nothing of what that takes:
which lasts as long as it takes an interpreter to come up. So this module loads little itself.
"""

from __future__ import annotations

import _signal
import _thread
import marshal
import os
import sys

from polyproc._base.modules import loaded
from polyproc._base.native import native
from polyproc._base.process_state import process_state
from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._platform.circumstances import Circumstances, environ, own_environ
from polyproc._platform.handles import HeldBack
from polyproc._platform.interpreter import command_line, site_plan, spawn, starter
from polyproc._platform.posix import HAVE_FORK, LongLived, anonymous_file, pwrite_all
from polyproc._process.child_life import lifeline
from polyproc._start.protocol import socketpair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyproc._process.process import BaseProcess
    from polyproc._start.child import Child
    from polyproc._start.protocol import Channel

# It takes this library from where its parent has it, and searches no working directory, as `-c` would.
_PROGRAM = (
    "import marshal,posix,sys,_frozen_importlib as f,_frozen_importlib_external as e;"
    "j=marshal.loads(posix.pread({file},{size},0));sys.path[:1]==['']and sys.path.pop(0);"
    "f._load(e.PathFinder.find_spec('polyproc',[j['folder']]));"
    "from polyproc._programs.run_early import main;main(j)  # {entry}"
)


# Modules that each child by spawn of the standard library has loaded before our main module is imported there.
_COMMON = (
    "bisect",
    "contextlib",
    "enum",
    "heapq",
    "importlib.util",
    "pickle",
    "queue",
    "random",
    "re",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "struct",
    "subprocess",
    "tempfile",
    "threading",
    "typing",
    "warnings",
    "weakref",
)
_OF_WORKERS = ("polyproc._workers.core_channels", "polyproc._workers.worker")
_FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class EarlyInterpreter:
    """An interpreter that comes up before its job is known.

    Attributes:
        channel: our end of a socketpair; the job has the other one as `socket`.
        pid: its pid.
        circumstances: in which it was started.
        environ: its environment.
    """

    channel: Channel

    def __init__(self, entry: str, modules: Sequence[str] = ()) -> None:
        self.environ = environ().copy()
        self.circumstances = Circumstances()
        plan = site_plan.describe()
        self._lifeline = lifeline.open()
        self._file = LongLived(anonymous_file("polyproc-job"))
        self.channel, theirs = socketpair()
        try:
            self._socket = theirs.fileno()
            mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
            self._hears_interrupt = _signal.SIGINT not in mask
            setup: dict[str, Any] = {"folder": _FOLDER, "site": plan, "socket": self._socket, "file": self._file.fd}
            setup["entry"] = f"polyproc._programs.{entry}"
            setup["modules"] = [setup["entry"], *modules]
            data = marshal.dumps(setup)
            self._written = len(data)
            pwrite_all(self._file.fd, data, 0)
            program = _PROGRAM.format(file=self._file.fd, size=len(data), entry=entry)
            line = command_line(program, without_site=plan is not None)
            self.pid = spawn(line, [self._socket, self._file.fd, self._lifeline], {*mask, _signal.SIGINT})
        except BaseException:
            self.forget()
            raise
        finally:
            theirs.close()

    def fits(self) -> bool:
        """Return whether it is as one that is started now."""
        return self.circumstances.are_the_same() and self.environ == own_environ()

    def give(self, job: dict[str, Any]) -> None:
        """Give it its job. Raises ConnectionError if it is gone."""
        job.update(socket=self._socket, lifeline=self._lifeline)
        if self._hears_interrupt:
            job["hears_interrupt"] = True
        data = marshal.dumps(job)
        pwrite_all(self._file.fd, data, self._written)  # it may not have read yet what is before that
        self.channel.sendall(b"%d %d" % (len(data), self._written))
        self._file.close()

    def end(self) -> None:
        """Give it up and wait for its end: without a job it leaves by itself."""
        self.forget()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:  # reaped by somebody else
            pass

    def forget(self) -> None:
        """Close what stands for it. Alone it is what a forked child does: its parent's is not its own."""
        self._file.close()
        self.channel.close()
        self.circumstances.close()


def can_start_early() -> bool:
    """Return whether an interpreter can be started so: no other program is put before it."""
    return (
        native.core is not None
        and not getattr(sys, "frozen", False)
        and not starter.is_replaced()
        and os.path.isdir(os.path.join(_FOLDER, "polyproc"))
    )


def common_modules() -> list[str]:
    """Return those of `_COMMON` that this program has loaded: its main module mostly loads them in each child, too."""
    home = os.path.dirname(os.__file__) + os.sep
    found = []
    for name in _COMMON:
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if spec is not None and isinstance(spec.origin, str) and spec.origin.startswith(home):
            found.append(name)
    return found


def is_plain() -> bool:
    """Return whether nothing of the program's, nor of its environment's, runs in an interpreter that is started now."""
    return can_start_early() and site_plan.describe() is not None and not site_plan.runs_code


class _EarlyInterpreters:
    """What was started early, for a fork server that is not known yet. One instance, `early`."""

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._interpreters: dict[str, EarlyInterpreter] = {}

    def begin(self, whose: str, modules: Sequence[str] = ()) -> None:
        """Start an interpreter for a fork server that this process will need, unless that would be refused."""
        if process_state.parent_facts is not None or process_state.importing_main or process_state.receiving:
            return
        try:
            with HeldBack(), self._lock:
                if whose not in self._interpreters and can_start_early():
                    self._interpreters[whose] = EarlyInterpreter("run_forkserver", modules)
        except OSError:  # no descriptor or process left: whatever needs it will say so
            pass

    def begin_for_pool(self, whose: str | None) -> None:
        """Start one that loads what workers need, too, unless a pool has no use for one, or it is there."""
        if loaded("polyproc._forkserver.fork_server") is None:
            if whose == "forkserver":
                self.begin(whose, _OF_WORKERS)
            elif whose == "spawn" and is_plain():
                self.begin(whose, (*_OF_WORKERS, *common_modules()))

    def take(self, whose: str) -> EarlyInterpreter | None:
        """Return it, and have no more to do with it."""
        with self._lock:
            return self._interpreters.pop(whose, None)

    def _after_fork_in_child(self) -> None:
        self._lock = _thread.allocate_lock()
        while self._interpreters:
            self._interpreters.popitem()[1].forget()


early = _EarlyInterpreters()
if HAVE_FORK:  # else it is only loaded, with what is public
    os.register_at_fork(after_in_child=early._after_fork_in_child)


def begin_fork_server() -> None:
    """Start the interpreter of the start method's fork server, unless this process has loaded what starts one."""
    if loaded("polyproc._forkserver.fork_server") is None:
        early.begin("forkserver")


def start_by_fork_server(process_obj: BaseProcess[Any]) -> Child:
    """Start a process object; while its launcher is loaded, the first time, the fork server comes up."""
    begin_fork_server()
    from polyproc._start.waiting_child import ForkServerChild

    return ForkServerChild(process_obj)
