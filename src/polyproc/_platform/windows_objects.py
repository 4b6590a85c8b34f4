"""Events and mutexes of Windows, with a name or without: `_winapi` has them from CPython 3.13 on, ctypes before."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi

from polyproc._base.typing import Any


class _Functions:
    """The functions of the system that `_winapi` has not before 3.13."""

    def __init__(self) -> None:
        import ctypes
        from ctypes import wintypes

        self._ctypes: Any = ctypes
        kernel32: Any = ctypes.WinDLL("kernel32", use_last_error=True)
        number, handle, name = wintypes.BOOL, wintypes.HANDLE, wintypes.LPCWSTR
        for function, result, arguments in (
            ("CreateEventW", handle, (ctypes.c_void_p, number, number, name)),
            ("OpenEventW", handle, (wintypes.DWORD, number, name)),
            ("CreateMutexW", handle, (ctypes.c_void_p, number, name)),
            ("SetEvent", number, (handle,)),
            ("ResetEvent", number, (handle,)),
            ("ReleaseMutex", number, (handle,)),
        ):
            call = getattr(kernel32, function)
            call.restype, call.argtypes = result, arguments
            setattr(self, function, self._checked(call))

    def _checked(self, call: Any) -> Any:
        def checked(*arguments: Any) -> Any:
            result = call(*(None if argument is _winapi.NULL else argument for argument in arguments))
            if not result:
                raise self._ctypes.WinError(self._ctypes.get_last_error())
            return result

        return checked


_system: Any = _winapi if hasattr(_winapi, "CreateEventW") else _Functions()
_SYNCHRONIZE = 0x100000
set_event: Any = _system.SetEvent
reset_event: Any = _system.ResetEvent
release_mutex: Any = _system.ReleaseMutex  # raises OSError in a thread that has it not


def _made(handle: int | None) -> int:
    """Return a handle. The functions of `_winapi` that make one return None, and raise nothing, where there is none."""
    if not handle:
        raise OSError(None, "no such event or mutex can be had", None, _winapi.GetLastError())
    return int(handle)


def new_event(is_set: bool, name: str | None = None) -> int:
    """Make an event that stays set until it is reset, or open the one of that name; return its handle."""
    return _made(_system.CreateEventW(_winapi.NULL, True, is_set, name))


def is_event(name: str) -> bool:
    """Return whether somebody has an event of that name."""
    try:
        _winapi.CloseHandle(_made(_system.OpenEventW(_SYNCHRONIZE, False, name)))
    except OSError:
        return False
    return True


def new_mutex(name: str) -> int:
    """Make a mutex that nobody has, or open the one of that name; return its handle."""
    return _made(_system.CreateMutexW(_winapi.NULL, False, name))
