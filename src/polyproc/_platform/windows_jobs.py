"""Job objects: the system ends the processes in one when its last handle is closed, however its holder ends."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import threading
from ctypes import wintypes

_EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
_KILL_ON_CLOSE, _SILENT_BREAKAWAY = 0x2000, 0x1000


class _Limits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("times", ctypes.c_int64 * 2),
        ("flags", wintypes.DWORD),
        ("sizes", ctypes.c_size_t * 2),
        ("most_processes", wintypes.DWORD),
        ("affinity", ctypes.c_size_t),
        ("classes", wintypes.DWORD * 2),
        ("io", ctypes.c_uint64 * 6),
        ("memory", ctypes.c_size_t * 4),
    )


class Job:
    """The job of what is to end with this process. One instance, `job`. What its members start is not in it."""

    def __init__(self) -> None:
        self._handle: int | None = None
        self._lock = threading.Lock()
        self._kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        for name in ("CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"):
            getattr(self._kernel32, name).restype = wintypes.HANDLE if name[0] == "C" else wintypes.BOOL

    def add(self, process: int) -> None:
        """Put a process into it."""
        with self._lock:
            if self._handle is None:
                self._handle = self._make()
        self._check(self._kernel32.AssignProcessToJobObject(wintypes.HANDLE(self._handle), wintypes.HANDLE(process)))

    def _make(self) -> int:
        handle: int | None = self._kernel32.CreateJobObjectW(None, None)
        self._check(handle)
        assert handle is not None
        limits = _Limits(flags=_KILL_ON_CLOSE | _SILENT_BREAKAWAY)
        set_limits = self._kernel32.SetInformationJobObject
        size = ctypes.sizeof(limits)
        self._check(set_limits(wintypes.HANDLE(handle), _EXTENDED_LIMITS, ctypes.byref(limits), size))
        return handle

    @staticmethod
    def _check(done: object) -> None:
        if not done:
            raise ctypes.WinError(ctypes.get_last_error())


job = Job()
