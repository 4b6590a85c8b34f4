"""How to start another copy of this Python: executable, flags, and what it inherits."""

from __future__ import annotations

import _signal
import errno
import os
import sys

from polyproc._base.modules import Later, load
from polyproc._base.native import native
from polyproc._base.typing import Any, Callable, Collection, Final, Sequence
from polyproc._platform.circumstances import environ
from polyproc._platform.posix import LINUX, PROC, close_quietly

fcntl: Any = Later("fcntl")


def _own_executable() -> str | None:
    if (sys.executable or "").lower().endswith("pythonservice.exe"):  # of a service of Windows: it runs no program
        return os.path.join(sys.exec_prefix, "python.exe")
    return sys.executable


class Interpreter:
    """The executable that spawn and the fork server start. One instance, `interpreter`."""

    def __init__(self) -> None:
        self.executable: bytes | str | None = _own_executable()

    def set_executable(self, exe: object) -> None:
        """Set the path of the Python to start; str, bytes or path-like, None to unset."""
        self.executable = None if exe is None else os.fsencode(exe)  # type: ignore[arg-type]

    def get_executable(self) -> bytes | str | None:
        """Return the path of the Python to start."""
        return self.executable


interpreter = Interpreter()


def flag_arguments() -> list[str]:
    """Return the command line flags and -W and -X options with which this interpreter runs."""
    flags = sys.flags
    arguments = []
    repeated = (("d", flags.debug), ("O", flags.optimize), ("B", flags.dont_write_bytecode), ("v", flags.verbose))
    for letter, count in (*repeated, ("b", flags.bytes_warning), ("q", flags.quiet)):
        if count:
            arguments.append("-" + letter * int(count))
    if flags.isolated:
        arguments.append("-I")
    else:
        arguments += [a for a, on in (("-E", flags.ignore_environment), ("-s", flags.no_user_site)) if on]
        if flags.safe_path:
            arguments.append("-P")
    if flags.no_site:
        arguments.append("-S")
    return arguments + _warning_arguments() + _x_arguments()


def _warning_arguments() -> list[str]:
    # Options that a debug flag or -b added are added again by that flag.
    options = list(sys.warnoptions)
    if sys.flags.dev_mode and "default" in options:
        options.remove("default")
    bytes_option = "error::BytesWarning" if sys.flags.bytes_warning > 1 else "default::BytesWarning"
    if sys.flags.bytes_warning and bytes_option in options:
        options.remove(bytes_option)
    return ["-W" + option for option in options]


def _x_arguments() -> list[str]:
    arguments = ["-X", "dev"] if sys.flags.dev_mode else []
    for name, value in sys._xoptions.items():
        if name != "dev":
            arguments.append(f"-X{name}" if value is True else f"-X{name}={value}")
    return arguments


def command_line(program: str, *, without_site: bool = False) -> list[bytes]:
    """Return the command line of a Python that runs the text `program`."""
    executable = interpreter.executable
    if not executable:
        raise OSError("no Python executable is known: call set_executable() with its path")
    line: list[str | bytes] = [executable, *flag_arguments(), *(["-S"] if without_site else []), "-c", program]
    return [os.fsencode(word) for word in line]


def inheritable_fds() -> list[int]:
    """Return the descriptors above 2 that a program started now would inherit: those without close-on-exec."""
    try:
        numbers = [int(name) for name in os.listdir(f"{PROC}/self/fd")]
    except FileNotFoundError:
        numbers = _open_numbers()
    found = []
    for fd in numbers:
        if fd > 2:
            try:
                if os.get_inheritable(fd):
                    found.append(fd)
            except OSError:  # closed meanwhile: the listing's own descriptor, or another thread's
                pass
    return found


def _open_numbers() -> list[int]:
    """Return the numbers of this process's descriptors, and more, where there is no /proc."""
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]
    except (OSError, ValueError):
        numbers = []
    # Where it is no more than three files that are always there, it does not tell of the listing's own, either.
    return numbers if max(numbers, default=0) > 2 else list(range(3, min(os.sysconf("SC_OPEN_MAX"), 4096)))


def spawn(line: list[bytes], pass_fds: Sequence[int], blocked: Collection[int] = ()) -> int:
    """Start a program as `_spawn` does, or in the way that a program has put in its place."""
    if not starter.is_replaced():
        return _spawn(line, pass_fds, blocked)
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, blocked)
    try:
        words = [os.fsdecode(word) for word in line]
        return starter.spawnv_passfds(words[0], words, list(pass_fds))
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def _spawn(line: list[bytes], pass_fds: Sequence[int], blocked: Collection[int] = ()) -> int:
    """Start a program with `pass_fds`, the standard streams and no other descriptor; return its pid.

    The signals in `blocked` stay blocked in it; without any it has this thread's signal mask.

    Standard input is /dev/null. posix_spawn(3) neither copies page tables nor runs handlers: its cost does not grow
    with this process. Descriptors keep their numbers; a dup2 of a descriptor to itself makes it inheritable.

    Raises:
        OSError: what posix_spawn says (EAGAIN, ENOMEM, ENOENT with the executable's name). Nothing was started.
    """
    if not LINUX:
        return _spawn_with_copies(line, pass_fds, blocked)
    passed = set(pass_fds)
    closed = [fd for fd in inheritable_fds() if fd not in passed]
    if max(closed, default=0) >= os.sysconf("SC_OPEN_MAX"):  # left open before the limit was lowered
        return _spawn_by_subprocess(line, pass_fds, blocked)
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [(os.POSIX_SPAWN_CLOSE, fd) for fd in closed]
    if 0 not in passed:
        actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
    actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in sorted(passed)]
    options: Any = {"setsigmask": blocked} if blocked else {}
    try:
        return os.posix_spawn(line[0], line, environ(), file_actions=actions, **options)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS):
            raise
    # A filter refuses clone3(2) with an error that the C library does not take for an old kernel's.
    return _spawn_by_subprocess(line, pass_fds, blocked)


def _spawn_with_copies(line: list[bytes], pass_fds: Sequence[int], blocked: Collection[int]) -> int:
    """Start a program as `_spawn` does, where a dup2 of a descriptor to itself leaves it as it is.

    In the child each becomes a copy of its copy, by way of one more number.
    """
    passed = sorted(set(pass_fds))
    spare = _free_number(passed[0]) if passed else -1
    try:
        actions: list[tuple[Any, ...]] = []
        if 0 not in passed:
            actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
        for fd in passed:
            actions += [(os.POSIX_SPAWN_DUP2, fd, spare), (os.POSIX_SPAWN_DUP2, spare, fd)]
        closed = [fd for fd in inheritable_fds() if fd not in (*passed, spare)]
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in ([spare] if passed else []) + closed]
        options: Any = {"setsigmask": blocked} if blocked else {}
        try:
            return os.posix_spawn(line[0], line, environ(), file_actions=actions, **options)
        except OSError as error:
            # EBADF: another thread has closed meanwhile what was to be closed in the child.
            if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EBADF, errno.EINVAL):
                raise
    finally:
        close_quietly(spare)
    return _spawn_by_subprocess(line, pass_fds, blocked)


def _free_number(fd: int) -> int:
    """Return a copy of a descriptor, with a number above the standard streams'."""
    return int(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))


def _spawn_by_subprocess(line: list[bytes], pass_fds: Sequence[int], blocked: Collection[int]) -> int:
    """Start a program by `subprocess`, where posix_spawn cannot: slower."""
    make: Any = load("subprocess", "Popen")
    devnull: Any = load("subprocess", "DEVNULL")
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, blocked)
    try:
        process = make(line, stdin=None if 0 in pass_fds else devnull, pass_fds=pass_fds, env=environ())
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    process.returncode = 0  # the holder of its pid waits for it
    return int(process.pid)


def spawn_with_fds(path: bytes | str, args: Sequence[bytes | str], passfds: Sequence[int]) -> int:
    """Start the program at `path` with `passfds` and the standard streams; return its pid."""
    return _spawn([os.fsencode(path), *(os.fsencode(arg) for arg in args[1:])], passfds)


class Starter:
    """Starts programs. A program may put a function of its own in its place (docs/adr/0010). One, `starter`."""

    def __init__(self) -> None:
        self.spawnv_passfds: Callable[[Any, Any, Any], int] = spawn_with_fds

    def is_replaced(self) -> bool:
        """Return whether a program has done so."""
        return self.spawnv_passfds is not spawn_with_fds


starter = Starter()
set_executable: Final = interpreter.set_executable
get_executable: Final = interpreter.get_executable

# What the interpreter's `site` module does at start, read once, so that a child can be started without it.
#
# `site` costs a tenth of a bare interpreter's start, and what its .pth files import costs more. A child gets sys.path
# from its parent anyway, so what is left to do there is little: `_programs/siteless.py` does it. Where this process's
#  own
# site did more than that (sitecustomize, usercustomize), or without the C core, children go through `site` as ever.


SETUPTOOLS = "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; "  # so its line begins, which stands in most environments

# (folder, file, its lines that import) of a .pth file
PthFile = tuple[str, str, list[str]]


class SitePlan:
    """The plan of what `site` would do, for a child started with -S. One instance, `site_plan`."""

    def __init__(self) -> None:
        self._folders: list[str] | None = None
        self._stamp: object = None
        self._pth_files: list[PthFile] | None = None
        self.runs_code = False  # whether lines that import do more than setuptools' own

    def describe(self) -> dict[str, Any] | None:
        """Return what `siteless.stand_in` needs; None if a child must go through `site`."""
        if native.core is None or sys.flags.no_site or getattr(sys, "frozen", False) or not _is_own_executable():
            return None
        if starter.is_replaced():  # it may run another program before ours, which needs its packages
            return None
        site = sys.modules.get("site")
        if site is None or "sitecustomize" in sys.modules or "usercustomize" in sys.modules:
            return None
        pth_files = self._read(site)
        if pth_files is None:
            return None
        return {
            "prefixes": (sys.prefix, sys.exec_prefix),
            "core": native.core.__file__,
            "flag": sys.flags.__match_args__.index("no_site"),
            "pth_files": pth_files,
            "setuptools": SETUPTOOLS,
        }

    def _read(self, site: Any) -> list[PthFile] | None:
        if self._folders is None:
            self._folders = site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
        stamp = [_modified(folder) for folder in self._folders]
        if stamp != self._stamp:
            found = self._pth_files = _importing_lines(self._folders)
            self.runs_code = any(not line.startswith(SETUPTOOLS) for *_, lines in found or () for line in lines)
            self._stamp = stamp
        return self._pth_files


def _is_own_executable() -> bool:
    executable = interpreter.executable
    return executable is not None and os.fsencode(executable) == os.fsencode(sys.executable)


def _modified(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _importing_lines(folders: list[str]) -> list[PthFile] | None:
    """Read all .pth files, in the order in which `site` does; None for what is not plain text, or 3.15 would call."""
    found: list[PthFile] = []
    for folder in folders:
        try:
            names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except OSError:
            continue
        if sys.version_info >= (3, 15) and any(name.endswith(".start") for name in names):  # PEP 829
            return None
        names = [name for name in names if name.endswith(".pth")]
        for name in names:
            try:
                with open(os.path.join(folder, name), encoding="utf-8-sig") as file:
                    lines = [line.rstrip() for line in file if line.startswith(("import ", "import\t"))]
            except (OSError, UnicodeDecodeError):
                return None
            if lines:
                found.append((folder, name, lines))
    return found


site_plan = SitePlan()
