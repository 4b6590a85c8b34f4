"""Modules whose code came from the parent: made as the import system makes one that it has found and read."""

from __future__ import annotations

import marshal
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader


def import_sent(name: str, path: str, package: str | None, code: bytes, cached: str | None = None) -> None:
    """Make a module and run its code. The package that it is in must be there.

    Args:
        name: its full name.
        path: its source file.
        package: its folder, if it is a package.
        code: its code, marshalled.
        cached: the file of its byte code.
    """
    loader = SourceFileLoader(name, path)
    spec = ModuleSpec(name, loader, origin=path, is_package=package is not None)
    spec.has_location = True
    spec.loader_state = "sent"  # so that a module can know that a process of ours started this one
    module = type(sys)(name)
    scope = module.__dict__
    parent, _, last = name.rpartition(".")
    scope["__spec__"] = spec
    scope["__loader__"] = loader
    scope["__file__"] = path
    scope["__package__"] = parent
    if package is not None:
        scope["__package__"] = name
        scope["__path__"] = spec.submodule_search_locations = [package]
    if cached is not None:
        spec.cached = cached
        if sys.version_info < (3, 15):
            scope["__cached__"] = cached
    sys.modules[name] = module
    try:
        exec(marshal.loads(code), scope)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    if parent:
        setattr(sys.modules[parent], last, module)
