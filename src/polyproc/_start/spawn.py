"""Launch a fresh interpreter: posix_spawn, a program of one line, and a job in an anonymous file.

The job is written before the child exists: nothing waits for anything, and no pipe can fill up.

    parent: describe self, compile main, pickle the process -> job file -> posix_spawn
    child:  the line below -> _programs/run_spawned.py -> prepare -> main -> unpickle -> bootstrap
"""

from __future__ import annotations

import _signal
import marshal
import os
import sys

from polyproc._pickling.inherited import InheritedFd
from polyproc._pickling.main_definitions import main_definitions
from polyproc._pickling.pickler import dumps
from polyproc._pickling.spawning import while_preparing
from polyproc._platform.interpreter import command_line, spawn
from polyproc._platform.posix import close_quietly, file_with
from polyproc._platform.site_plan import site_plan
from polyproc._process.capture import capture, capture_extras, capture_main, capture_tracker, pack_objects
from polyproc._process.lifeline import lifeline
from polyproc._process.main_code import main_code
from polyproc._process.payload import try_marshal
from polyproc._start.bundle import bundle
from polyproc._start.child import Child
from polyproc._start.frozen import start_frozen
from polyproc._start.target_code import target_code
from polyproc._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyproc._process.process import BaseProcess
    from polyproc.abc import Spawning

# The rest comes with the bundle: a child may not find this library before it has its parent's sys.path.
PROGRAM = (
    "import marshal,posix;b,j=[marshal.loads(posix.pread(f,n,0))for f,n in(({bundle},{bundle_size}),({job},{size}))];"
    "posix.close({bundle});posix.close({job});j.update(b);exec(marshal.loads(j.pop('boot')),{{'job':j}})"
)


def pack(process_obj: BaseProcess[Any], child: Spawning) -> tuple[bool, bytes]:
    """Return (pickled?, bytes) of the process object for `child`. Raises what pickling raises."""
    main_definitions.note_start(None if getattr(child, "finds_kept", False) else main_code.missing())
    plain = try_marshal(process_obj, target_code.of(process_obj._target))
    if plain is not None:
        return False, plain
    return True, while_preparing(child, lambda: dumps(process_obj))


def start_program(job: dict[str, Any], entry: str, pass_fds: list[int], mask: set[int] | None = None) -> int:
    """Start the program `_programs/<entry>.py` with its job and descriptors; return the pid.

    SIGINT is blocked in it until it can tell of one as of an end of its job. `mask` is the signal mask that it shall
    have then: this thread's, unless given.
    """
    job = pack_objects(job)
    if mask is None:
        mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    if _signal.SIGINT not in mask:
        job["hears_interrupt"] = True
    job["entry"] = f"polyproc._programs.{entry}"
    plan = site_plan.describe()
    if plan is not None:
        job["site"] = plan
    if getattr(sys, "frozen", False):
        return start_frozen(job, pass_fds)
    code = bundle.open()
    data = marshal.dumps(job)
    fd = file_with("polyproc-job", data)
    try:
        program = PROGRAM.format(bundle=code.fd, bundle_size=code.size, job=fd, size=len(data))
        program += f"  # {entry}"  # who looks at command lines sees what it is: a fork server is not to be traced
        line = command_line(program, without_site=plan is not None)
        return spawn(line, [fd, code.fd, *pass_fds], {*mask, _signal.SIGINT})
    finally:
        os.close(fd)


def pass_end(job: dict[str, Any], ends: Any) -> list[int]:
    """Tell a child of its end and of what tells of our own, where pipes stand for pidfds; return what is passed."""
    if ends is None:
        return []
    job.update(end=ends.passed(), parent=lifeline.open())
    return [job["end"], job["parent"]]


class SpawnChild(Child):
    """A child that is a fresh interpreter."""

    method = "spawn"

    def __init__(self, process_obj: BaseProcess[Any]) -> None:
        self._fds: list[int] = []
        self._copies: list[int] = []
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Pass `fd` to the child; return its number there, another one each time: each closes its own."""
        if fd in self._fds:
            fd = os.dup(fd)
            self._copies.append(fd)
        self._fds.append(fd)
        return fd

    def DupFd(self, fd: int) -> InheritedFd:
        """Return what to pickle for a descriptor that is passed."""
        return InheritedFd(fd)

    def _start(self, process_obj: BaseProcess[Any]) -> None:
        try:
            self._launch_with_copies(process_obj)
        finally:
            close_quietly(*self._copies)

    def _launch_with_copies(self, process_obj: BaseProcess[Any]) -> None:
        pickled, payload = pack(process_obj, self)
        job = capture_main(capture_extras(capture(process_obj.name)))
        job.update(start_method="spawn", pickled=pickled, payload=payload, box=self._box.fd)
        capture_tracker(job, self.duplicate_for_child, is_sent=False)
        pass_fds = [*self._fds, self._box.fd]
        if process_obj.daemon:
            job["lifeline"] = lifeline.open()
            pass_fds.append(job["lifeline"])
        pass_fds += pass_end(job, self._begin_end())
        mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGINT,))
        try:
            pid = start_program(job, "run_spawned", pass_fds, mask)
            self._started(pid)
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        self._fds.clear()
