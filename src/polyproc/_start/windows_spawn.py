"""What `spawn` is on Windows: CreateProcess with the handles that the child is to have, and a job in a file.

A handle that goes to a child is duplicated for it, so that it can be inherited: the child has it under that number.
Only those that are listed are inherited. A daemon is put into the job object of this process, and ends with it.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import marshal
import msvcrt
import os
import subprocess

from polyproc._base.process_state import log
from polyproc._base.typing import TYPE_CHECKING, Any, Callable
from polyproc._pickling.main_definitions import main_definitions
from polyproc._pickling.pickler import dumps
from polyproc._pickling.sending import InheritedFd, while_preparing
from polyproc._platform.circumstances import added_variables
from polyproc._platform.handles import ready
from polyproc._platform.interpreter import command_line, interpreter
from polyproc._platform.posix import LongLived, close_quietly, file_with
from polyproc._platform.windows_handles import TERMINATED
from polyproc._platform.windows_kernel import close, dup, pipe, write
from polyproc._process.child_life import ENDED_BY_INTERRUPT
from polyproc._process.job import try_marshal
from polyproc._process.preparation import capture, capture_extras, capture_main, main_code, pack_objects
from polyproc._start.child import Child
from polyproc._start.spawn import FLAG, is_forking, target_code

if TYPE_CHECKING:
    from polyproc._process.process import BaseProcess
    from polyproc.abc import Spawning

# The child has this library by its parent's sys.path.
PROGRAM = (
    "import sys,os,marshal,msvcrt;f=os.fdopen(msvcrt.open_osfhandle({job},0),'rb');f.seek(0);j=marshal.load(f);"
    "f.close();sys.path[:]=j['sys_path'];__import__(j['entry'],fromlist=['main']).main(j)"
)
_SYNCHRONIZE = 0x100000
_NOTHING, _SIGINT, _SIGTERM = 0, 2, 15


def pack(process_obj: BaseProcess[Any], child: Spawning) -> tuple[bool, bytes]:
    """Return (pickled?, bytes) of the process object for `child`. Raises what pickling raises."""
    main_definitions.note_start(main_code.missing())
    plain = try_marshal(process_obj, target_code.of(process_obj._target))
    if plain is not None:
        return False, plain
    return True, while_preparing(child, lambda: dumps(process_obj))


def start_program(job: dict[str, Any], entry: str, handles: list[int]) -> tuple[int, int]:
    """Start the program `_programs/<entry>.py` with its job and inheritable handles; return its handle and pid."""
    job = pack_objects(job)
    job["entry"] = f"polyproc._programs.{entry}"
    file = file_with("polyproc-job", marshal.dumps(job))
    try:
        passed = dup(file, inheritable=True)
    finally:
        close(file)
    try:
        executable, line = _command_line(passed)
        return _create_process(executable, line, [passed, *handles])
    finally:
        close(passed)


def _command_line(job: int) -> tuple[str, str]:
    if getattr(sys, "frozen", False):
        executable = os.fsdecode(interpreter.executable or sys.executable)
        return executable, subprocess.list2cmdline([executable, FLAG, f"job={job}"])
    words = [os.fsdecode(word) for word in command_line(PROGRAM.format(job=job))]
    if _is_launcher(words[0]):
        words[0] = base_executable()
    return words[0], subprocess.list2cmdline(words)


def base_executable() -> str:
    """Return the program that a virtual environment's python.exe, a launcher, starts: another process."""
    return str(sys._base_executable)  # type: ignore[attr-defined]


def _is_launcher(executable: str) -> bool:
    own, base = (os.path.normcase(path or "") for path in (sys.executable, base_executable()))
    return os.path.normcase(executable) == own != base


def _create_process(executable: str, line: str, handles: list[int]) -> tuple[int, int]:
    with open(os.devnull, "rb") as null:
        streams = [_inheritable(lambda: msvcrt.get_osfhandle(null.fileno()))]
        streams += [_inheritable(lambda fd=fd: msvcrt.get_osfhandle(fd)) for fd in (1, 2)]  # type: ignore[misc]
    try:
        startup = subprocess.STARTUPINFO(dwFlags=_winapi.STARTF_USESTDHANDLES)
        startup.hStdInput, startup.hStdOutput, startup.hStdError = streams  # type: ignore[assignment]
        startup.lpAttributeList = {"handle_list": sorted({*handles, *(handle for handle in streams if handle)})}
        environment = {**added_variables(), **os.environ}
        if executable == base_executable() != sys.executable:
            environment["__PYVENV_LAUNCHER__"] = sys.executable  # which environment it belongs to
        process, thread, pid, _ = _winapi.CreateProcess(
            executable, line, None, None, True, 0, environment, None, startup
        )
    finally:
        close_quietly(*(handle for handle in streams if handle))
    _winapi.CloseHandle(thread)
    return process, pid


def _inheritable(handle_of: Callable[[], int]) -> int:
    """Return a copy of a stream's handle that can be inherited; 0 if there is no such stream."""
    try:
        return dup(handle_of(), inheritable=True)
    except OSError:
        return 0


def freeze_support() -> None:
    """In a frozen executable that was started as a child: be that child, and never return; else do nothing.

    A program made by PyInstaller and its like calls it first in its main module.
    """
    if getattr(sys, "frozen", False) and is_forking(sys.argv):
        exec(PROGRAM.format(job=int(sys.argv[2].partition("=")[2])), {})


class SpawnChild(Child):
    """A child that is a fresh interpreter."""

    method = "spawn"

    def __init__(self, process_obj: BaseProcess[Any]) -> None:
        self._copies: list[int] = []
        self._signals = -1
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Duplicate a handle for the child; return its number there."""
        self._copies.append(dup(fd, inheritable=True))
        return self._copies[-1]

    def DupFd(self, fd: int) -> InheritedFd:
        """Return what to pickle for a handle that is passed."""
        return InheritedFd(fd)

    def _start(self, process_obj: BaseProcess[Any]) -> None:
        try:
            self._launch(process_obj)
        finally:
            close_quietly(*self._copies)
            self._copies.clear()

    def _launch(self, process_obj: BaseProcess[Any]) -> None:
        pickled, payload = pack(process_obj, self)
        job = capture_main(capture_extras(capture(process_obj.name)))
        own = dup(_winapi.GetCurrentProcess(), inheritable=True, access=_SYNCHRONIZE)
        self._copies.append(own)
        job.update(start_method="spawn", pickled=pickled, payload=payload, parent_process=own)
        job["ends_with_parent"] = bool(process_obj.daemon)
        heard, self._signals = pipe()
        try:
            job["signals"] = self.duplicate_for_child(heard)
        finally:
            close(heard)
        job["box"] = self.duplicate_for_child(self._box.fd)
        self.sentinel, self.pid = start_program(job, "run_spawned", self._copies)
        if process_obj.daemon:
            from polyproc._platform import windows_jobs

            try:
                windows_jobs.job.add(self.sentinel)
            except OSError as error:  # it has ended already; or a sandbox refuses, and it ends itself
                log.info("a child is not in the job: %s", error)
        self._make_room()

    def _give_up(self) -> None:
        if self.pid > 0:
            try:
                _winapi.TerminateProcess(self.sentinel, TERMINATED)
            except OSError:  # it has ended
                pass
        self.pid = -1
        self._close_signals()
        super()._give_up()

    def _close_signals(self) -> None:
        handle, self._signals = self._signals, -1
        close_quietly(handle)

    def _settle(self, code: int) -> None:
        super()._settle(code)
        self._close_signals()

    # -- waiting ---------------------------------------------------------------------------------------------------

    def _block(self, again: bool = False) -> None:
        ready([self.sentinel], None)

    def _waitpid(self) -> int | None:
        if self._runs():
            return None
        code = _winapi.GetExitCodeProcess(self.sentinel)
        return {TERMINATED: -_SIGTERM, ENDED_BY_INTERRUPT: -_SIGINT}.get(code, code)

    def _ensure_sentinel(self) -> int:
        return self.sentinel

    def _signal_it(self, signum: int) -> None:
        if signum in (9, _SIGTERM):
            self._terminate()
        elif signum != _NOTHING:
            try:
                write(self._signals, bytes([signum]))
            except BrokenPipeError:
                raise ProcessLookupError(3, "No such process") from None

    def _terminate(self) -> None:
        try:
            _winapi.TerminateProcess(self.sentinel, TERMINATED)
        except PermissionError:
            if not ready([self.sentinel], 1.0):  # it is ending
                raise

    def __del__(self) -> None:
        self._watched = LongLived() if self.sentinel < 0 else self._watched
        self._close_signals()
        super().__del__()
