"""The processes of the system, by ps(1), where there is no /proc: to ask costs some milliseconds. And our own memory.

The processes are asked for as POSIX has it; `lstart`, when one was started, is no part of that, but of every system.
"""

from __future__ import annotations

import os
import signal
import time

from polyproc._base.modules import load
from polyproc._base.typing import Any, NamedTuple
from polyproc._platform.handles import pause
from polyproc._platform.posix import IS_MACOS, PROC, anonymous_file

_LIMIT = 10.0  # seconds: it was stopped, or the machine is at its end
_TICK = 0.001
_STATE = ("-o", "stat=", "-o", "lstart=")  # each with an option of its own: what is behind a "=" is a heading
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]  # with LC_ALL=C


class Row(NamedTuple):
    """A process: its parent, when it was started in seconds, and whether it is no more than a zombie."""

    parent: int
    started: str
    is_zombie: bool


def table() -> dict[int, Row]:
    """Return all processes by their pids, as far as this user may see; none where there is no ps."""
    rows = {}
    ps, text = _ps("-A", "-o", "pid=", "-o", "ppid=", *_STATE)
    for line in text.splitlines():
        words = line.split(None, 3)
        if len(words) == 4 and words[0].isdigit() and words[1].isdigit():
            rows[int(words[0])] = Row(int(words[1]), _seconds(words[3]), words[2].startswith("Z"))
    rows.pop(ps, None)
    return rows


def started_at(pid: int) -> str:
    """Return when a process was started, in seconds; "" if it is not there or no more than a zombie."""
    state, _, started = _ps(*_STATE, "-p", str(pid))[1].strip().partition(" ")
    return "" if not started or state.startswith("Z") else _seconds(started)


def _seconds(date: str) -> str:
    """Return the seconds of a date as ps shows it, "Sat Nov 28 07:10:38 2026"; "" for what is none."""
    try:
        _, month, day, clock, year = date.split()
        hour, minute, second = map(int, clock.split(":"))
        days = (int(year) * 12 + _MONTHS.index(month)) * 31 + int(day)  # to compare: run_tracker.py has it, too
        return str(((days * 24 + hour) * 60 + minute) * 60 + second)
    except ValueError:
        return ""


def resident_bytes_of(pid: int) -> int:
    """Return the resident size of a process in bytes; 0 where that cannot be told."""
    text = _ps("-o", "rss=", "-p", str(pid))[1].strip()
    return int(text) * 1024 if text.isdigit() else 0


def _ps(*words: str) -> tuple[int, str]:
    """Run it; return its pid and what it says, "" where there is none. Raises OSError: what it takes is not left."""
    # No pipe: the end of one is seen when all have closed it that were forked meanwhile.
    fd = anonymous_file("polyproc-ps")
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, fd, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        try:
            environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}  # the same words in every locale
            pid = os.posix_spawnp("ps", ["ps", *words], environment, file_actions=actions)
        except (FileNotFoundError, PermissionError):
            return -1, ""
        _wait(pid)
        return pid, os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")
    finally:
        os.close(fd)


def _wait(pid: int) -> None:
    deadline = time.monotonic() + _LIMIT
    try:
        while os.waitpid(pid, os.WNOHANG)[0] != pid:
            pause(_TICK)
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
    except ChildProcessError:  # reaped by somebody else
        pass


def resident_bytes() -> int:
    """Return the resident size of this process, in bytes; where nothing tells it, the largest that it had."""
    try:
        with open(f"{PROC}/self/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        usage: Any = load("resource", "getrusage")
        return resident_bytes_of(os.getpid()) or int(usage(0).ru_maxrss) * (1 if IS_MACOS else 1024)
