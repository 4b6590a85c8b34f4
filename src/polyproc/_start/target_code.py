"""The code of a target's module, sent with the job: its child neither searches for the file nor reads it.

As with main (`_process/main_code.py`) the parent reads and compiles once, and looks before each start whether the
file is still the same. Sent is what the import system would find by itself, no more: a module from a plain source
file, that was imported by the standard loader.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib_external import SourceFileLoader

from polyproc._typing import Any

# The arguments of `_sent.import_sent`.
SentModule = tuple[str, str, None, bytes, str | None]

_LARGEST = 1 << 14  # a larger module takes longer to run than to find


class TargetCode:
    """What was sent, by module. One instance, `target_code`."""

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
            known = self._known[name] = (stamp, _read(spec))
        return known[1]


def _read(spec: Any) -> SentModule | None:
    try:
        code = marshal.dumps(spec.loader.get_code(spec.name))
    except Exception:  # noqa: BLE001  (the child will fail on it where that is seen)
        return None
    return (spec.name, spec.loader.path, None, code, spec.cached) if len(code) <= _LARGEST else None


target_code = TargetCode()
