"""What `processes` is on Windows: the system's own list, when each process was started, and our own memory."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
from ctypes import wintypes

from polyproc._base.typing import Any, Iterator
from polyproc._platform import processes

_PROCESSES = 2  # TH32CS_SNAPPROCESS
_QUERY = 0x1000  # PROCESS_QUERY_LIMITED_INFORMATION
_NONE = wintypes.HANDLE(-1).value


class _Entry(ctypes.Structure):
    """PROCESSENTRY32W."""

    _fields_ = (
        ("size", wintypes.DWORD),
        ("usage", wintypes.DWORD),
        ("pid", wintypes.DWORD),
        ("heap", ctypes.c_size_t),
        ("module", wintypes.DWORD),
        ("threads", wintypes.DWORD),
        ("parent", wintypes.DWORD),
        ("priority", wintypes.LONG),
        ("flags", wintypes.DWORD),
        ("name", wintypes.WCHAR * 260),
    )


class _System:
    """The functions that are asked. One instance, `_system`."""

    def __init__(self) -> None:
        kernel32: Any = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.CreateToolhelp32Snapshot.restype = wintypes.HANDLE
        kernel32.OpenProcess.restype = wintypes.HANDLE
        for name in ("Process32FirstW", "Process32NextW"):
            getattr(kernel32, name).argtypes = (wintypes.HANDLE, ctypes.c_void_p)
        kernel32.GetProcessTimes.argtypes = (wintypes.HANDLE, *[ctypes.c_void_p] * 4)
        kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
        self._kernel32 = kernel32

    def entries(self) -> Iterator[tuple[int, int]]:
        """Yield each process with the number of who started it, which may be another's by now."""
        snapshot = self._kernel32.CreateToolhelp32Snapshot(_PROCESSES, 0)
        if snapshot in (None, _NONE):
            return
        try:
            entry = _Entry(size=ctypes.sizeof(_Entry))
            is_there = self._kernel32.Process32FirstW(snapshot, ctypes.byref(entry))
            while is_there:
                yield entry.pid, entry.parent
                is_there = self._kernel32.Process32NextW(snapshot, ctypes.byref(entry))
        finally:
            self._kernel32.CloseHandle(snapshot)

    def started(self, pid: int) -> int:
        """Return when a process was started, in units of 100 ns; 0 where that is not told."""
        process = self._kernel32.OpenProcess(_QUERY, False, pid)
        if not process:
            return 0
        try:
            times = (ctypes.c_uint64 * 4)()
            places = [ctypes.byref(times, 8 * index) for index in range(4)]
            return int(times[0]) if self._kernel32.GetProcessTimes(process, *places) else 0
        finally:
            self._kernel32.CloseHandle(process)


_system = _System()


def table() -> dict[int, processes.Row]:
    """Return all processes by their pids; one that is older than the process of its parent's number has no parent."""
    found = dict(_system.entries())
    started = {pid: _system.started(pid) for pid in found}
    return {
        pid: processes.Row(parent if started[pid] >= started.get(parent, 0) else 0, str(started[pid]), False)
        for pid, parent in found.items()
    }


class _Counters(ctypes.Structure):
    _fields_ = (
        ("cb", wintypes.DWORD),
        ("PageFaultCount", wintypes.DWORD),
        *((name, ctypes.c_size_t) for name in ("PeakWorkingSetSize", "WorkingSetSize", "a", "b", "c", "d", "e", "f")),
    )


def resident_bytes() -> int:
    """Return the resident size of this process, in bytes."""
    counters = _Counters()
    counters.cb = ctypes.sizeof(counters)
    kernel32 = ctypes.WinDLL("kernel32")
    kernel32.GetCurrentProcess.restype = wintypes.HANDLE
    ask = kernel32.K32GetProcessMemoryInfo
    ask.argtypes = (wintypes.HANDLE, ctypes.c_void_p, wintypes.DWORD)
    ask(kernel32.GetCurrentProcess(), ctypes.byref(counters), counters.cb)
    return int(counters.WorkingSetSize)
