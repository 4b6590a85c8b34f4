"""Children of a frozen executable, whose command line is the executable's own; and the old names about them."""

from __future__ import annotations

import marshal
import os
import sys

from polyproc._platform.interpreter import command_line, interpreter, spawn
from polyproc._platform.posix import file_with
from polyproc._process.main_module import import_main
from polyproc._start.bundle import bundle
from polyproc._typing import Any

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
        exec(marshal.loads(job.pop("boot")), {"job": job})


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
