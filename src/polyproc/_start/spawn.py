"""Launch a fresh interpreter: posix_spawn, a program of one line, and a job in an anonymous file.

The job is written before the child exists: nothing waits for anything, and no pipe can fill up.

    parent: describe self, compile main, pickle the process -> job file -> posix_spawn
    child:  the line below -> _programs/run_spawned.py -> prepare -> main -> unpickle -> live
"""

from __future__ import annotations

import _frozen_importlib
import _signal
import marshal
import os
import sys
from _frozen_importlib_external import SourceFileLoader
from types import CodeType

from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._pickling.main_definitions import main_definitions
from polyproc._pickling.pickler import dumps
from polyproc._pickling.sending import InheritsFds, while_preparing
from polyproc._platform.handles import Heard
from polyproc._platform.interpreter import command_line, interpreter, site_plan, spawn
from polyproc._platform.posix import OwnFile, close_quietly, file_with
from polyproc._process.child_life import lifeline
from polyproc._process.job import import_main, try_marshal
from polyproc._process.preparation import (
    capture,
    capture_extras,
    capture_main,
    capture_tracker,
    main_code,
    pack_objects,
)
from polyproc._start.child import Child

if TYPE_CHECKING:
    from polyproc._base.modules import SentModule
    from polyproc._process.process import BaseProcess
    from polyproc.abc import Spawning


# Children of a frozen executable, whose command line is the executable's own; and the old names about them.


# A frozen program starts itself, with this word and the number of the job's descriptor.
FLAG = "--multiprocessing-fork"


def is_forking(argv: list[str]) -> bool:
    """Return whether a command line asks for a child."""
    return len(argv) >= 2 and argv[1] == FLAG


def freeze_support() -> None:
    """In a frozen executable that was started as a child: be that child, and never return; else do nothing.

    A program made by PyInstaller and its like calls it first in its main module.
    """
    if getattr(sys, "frozen", False) and is_forking(sys.argv):
        with os.fdopen(int(sys.argv[2].partition("=")[2]), "rb") as file:
            job = marshal.load(file)
        exec(marshal.loads(job.pop("prelude")), {"job": job})


def start_frozen(job: dict[str, Any], pass_fds: list[int]) -> int:
    """Start the frozen executable as a child with its job; return the pid."""
    bundle.prepare()
    executable = interpreter.executable or sys.executable
    fd = file_with("polyproc-job", marshal.dumps({**job, **bundle.contents}))
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        return spawn([os.fsencode(word) for word in (executable, FLAG, f"job={fd}")], [fd, *pass_fds])
    finally:
        os.close(fd)


def import_main_path(main_path: str) -> None:
    """Make `__main__` and `__mp_main__` the module at a path, as a child does."""
    with open(main_path, "rb") as file:
        code = compile(file.read(), main_path, "exec", dont_inherit=True)
    import_main("path", main_path, marshal.dumps(code))


def get_command_line(**kwds: Any) -> list[str]:
    """Return the start of a child's command line, for programs that show it."""
    if getattr(sys, "frozen", False):
        return [sys.executable, FLAG, *(f"{key}={value!r}" for key, value in kwds.items())]
    return [os.fsdecode(word) for word in command_line("pass")]


# The code of a target's module, sent with the job: its child neither searches for the file nor reads it.
#
# As with main (`_process/preparation.py`) the parent reads and compiles once, and looks before each start whether
# the file is still the same. Sent is what the import system would find by itself, no more: a module from a plain source
# file, that was imported by the standard loader.


_LARGEST = 1 << 14  # a larger module takes longer to run than to find


class TargetCode:
    """The code that was sent, by module. One instance, `target_code`."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, SentModule | None]] = {}

    def of(self, target: object) -> SentModule | None:
        """Return what to send for the module of `target`; None if its child is to find it by itself."""
        name = getattr(target, "__module__", None)
        spec: Any = getattr(sys.modules.get(name), "__spec__", None) if type(name) is str else None
        if spec is None or name == "__main__" or type(spec.loader) is not SourceFileLoader or spec.name != name:
            return None
        if spec.submodule_search_locations is not None or spec.loader.name != name:
            return None
        try:
            info = os.stat(spec.loader.path)
        except OSError:
            return None
        stamp = (spec.loader.path, info.st_mtime_ns, info.st_size)
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            known = self._known[name] = (stamp, _read_target(spec))
        return known[1]


def _read_target(spec: Any) -> SentModule | None:
    try:
        code = marshal.dumps(spec.loader.get_code(spec.name))
    except Exception:  # noqa: BLE001  (the child will fail on it where that is seen)
        return None
    return (spec.name, spec.loader.path, None, code, spec.cached) if len(code) <= _LARGEST else None


target_code = TargetCode()

# What a started program imports of ours, as code objects, read once in the parent and passed to each.


# In a child before user code, each behind what it imports; a test compares this with what a child really loads.
CHILD = (
    "polyproc",
    "polyproc._base",
    "polyproc._base.modules",
    "polyproc._base.process_state",
    "polyproc._platform",
    "polyproc._platform.posix",
    "polyproc._process",
    "polyproc._process.black_box",
    "polyproc._process.child_life",
    "polyproc._process.process",
    "polyproc._process.job",
    "polyproc._programs",
    "polyproc._programs.run_spawned",
)
PRELUDE = "polyproc._programs.prelude"
SITELESS = "polyproc._programs.siteless"

# name -> (file, folder if it is a package, marshalled code)
SentModules = dict[str, tuple[str, str | None, bytes]]


class BundleFile(OwnFile):
    """An anonymous file with the code. Children read it by pread(2): they share its position."""

    __slots__ = ("size",)

    def __init__(self, data: bytes) -> None:
        super().__init__(file_with("polyproc-bundle", data))
        self.size = len(data)


class Bundle:
    """The code that goes with every job, in a file made once. One instance, `bundle`."""

    def __init__(self) -> None:
        self.contents: dict[str, Any] = {}
        self._file: BundleFile | None = None

    def prepare(self) -> dict[str, Any]:
        """Read the code, unless that was done; return it."""
        if not self.contents:
            self.contents = {
                "prelude": marshal.dumps(_code(PRELUDE)[1]),
                "siteless": marshal.dumps(_code(SITELESS)[1]),
                "sent": {name: entry for name in CHILD if (entry := _read_sent(name)) is not None},
            }
        return self.contents

    def open(self) -> BundleFile:
        """Return the file. Of two threads that make one at once, each has one for as long as it uses it."""
        file = self._file
        if file is None or not file.is_there():
            file = self._file = BundleFile(marshal.dumps(self.prepare()))
        return file


def _code(name: str) -> tuple[Any, CodeType | None]:
    spec = _spec(name)
    loader: Any = spec.loader if spec is not None else None
    return spec, loader.get_code(name) if hasattr(loader, "get_code") else None


def _spec(name: str) -> Any:
    """Do what importlib.util.find_spec does, which would bring `contextlib` and `warnings` along."""
    if name in sys.modules:
        return sys.modules[name].__spec__
    package = name.rpartition(".")[0]
    __import__(package)
    return _frozen_importlib._find_spec(name, sys.modules[package].__path__)  # type: ignore[attr-defined]


def _read_sent(name: str) -> tuple[str, str | None, bytes] | None:
    """Return what is sent for a module; None for one that a child must find by itself (built in, frozen)."""
    spec, code = _code(name)
    if code is None or not spec.has_location:
        return None
    package = os.path.dirname(spec.origin) if spec.submodule_search_locations is not None else None
    return spec.origin, package, marshal.dumps(code)


bundle = Bundle()

# The rest comes with the bundle: a child may not find this library before it has its parent's sys.path.
PROGRAM = (
    "import marshal,posix;b,j=[marshal.loads(posix.pread(f,n,0))for f,n in(({bundle},{bundle_size}),({job},{size}))];"
    "posix.close({bundle});posix.close({job});j.update(b);exec(marshal.loads(j.pop('prelude')),{{'job':j}})"
)


def pack(process_obj: BaseProcess[Any], child: Spawning, apart: list[memoryview] | None = None) -> tuple[bool, bytes]:
    """Return (pickled?, bytes) of the process object for `child`; its large buffers go into `apart`, if it is given.

    Raises what pickling raises.
    """
    main_definitions.note_start(None if getattr(child, "finds_kept", False) else main_code.missing())
    plain = try_marshal(process_obj, target_code.of(process_obj._target))
    if plain is not None:
        return False, plain
    with Heard():
        return True, while_preparing(child, lambda: dumps(process_obj, None if apart is None else 5, apart))


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
        program += f"  # {entry}"  # shown in command lines: a fork server is not to be traced
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


class SpawnChild(InheritsFds, Child):
    """A child that is a fresh interpreter."""

    method = "spawn"

    def __init__(self, process_obj: BaseProcess[Any]) -> None:
        self._fds: list[int] = []
        self._copies: list[int] = []
        super().__init__(process_obj)

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
        if self._box.is_unwatched:
            job["is_unwatched"] = True
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
