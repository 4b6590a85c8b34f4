"""Modules: loaded when they are first asked for, made from code that a parent has sent, shown under public names.

And `os`, as a new child has it. `load` is for modules that are heavy or may not be there, and for the root
(`polyproc/__init__.py`). What calls up in this library does so by an import in a function (docs/adr/0003). `said`
returns the text for a wrong call.
"""

from __future__ import annotations

import _thread
import marshal
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    C = TypeVar("C", bound=type[Any])
    T = TypeVar("T")
    SentModule = tuple[str, str, None, bytes, str | None]  # the arguments of `import_sent`

# The system calls that a new child makes: `os` where that is loaded, else the interpreter's own module behind it.
#
# `os` itself is Python that costs a bare interpreter a tenth of its start. Only for what a child loads before user
# code. `read` and `write` are the interpreter's own for everybody: others may have replaced those of `os`, as eventlet
# does. On Windows, windows_kernel.py puts its own in their place.

if TYPE_CHECKING:
    import os as os
elif "os" in sys.modules:
    os = sys.modules["os"]
else:
    try:
        import posix as os
    except ImportError:
        os = __import__("nt")

# What Linux alone has is to be left alone: "posix". So tests on Linux run what other systems do (docs/adr/0045).
PLATFORM = "POLYPROC_PLATFORM"


def variable(name: str) -> str:
    """Return a variable of the environment, "" if it is not set."""
    environ: Any = os.environ
    if type(environ) is dict:  # the interpreter's own: of bytes, on POSIX
        return str(environ.get(name) or environ.get(name.encode(), b"").decode(errors="surrogateescape"))
    return str(environ.get(name, ""))


try:
    from posix import read as read
    from posix import write as write
except ImportError:
    read, write = os.read, os.write


def load(module: str, attribute: str) -> object:
    """Return `attribute` of `module`, imported if it was not."""
    if module not in sys.modules or _is_begun(sys.modules[module]):
        __import__(module)  # and not importlib, which a bare child has not loaded; waits for a thread that imports it
    return getattr(sys.modules[module], attribute)


def loaded(module: str) -> object | None:
    """Return the module if it has been imported, else None; import nothing."""
    found = sys.modules.get(module)
    return None if found is None or _is_begun(found) else found


def without_collecting(imports: Callable[[], T]) -> T:
    """Return what a function returns that imports much. It leaves no garbage, and to look for that takes a tenth of it.

    Not beside other threads, which may set the collector, too.
    """
    import gc

    collects = gc.isenabled() and not _thread._count()
    try:
        if collects:
            gc.disable()
        return imports()
    finally:
        if collects:
            gc.enable()


def said(about: str, *given: object) -> Any:
    """Return the text of polyproc/_base/misuse.py for a wrong call, or what the call must have meant."""
    from polyproc._base import misuse

    return getattr(misuse, about)(*given)


def _is_begun(module: object) -> bool:
    """Return whether a thread is importing it: sys.modules has it from the start, with the names defined so far."""
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


class Later:
    """A module of the standard library that is imported when something of it is asked for: most programs never do."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        __import__(self._name)
        return getattr(sys.modules[self._name], attribute)


# Modules whose code came from the parent: made as the import system makes one that it has found and read.


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


# Under which name a public class is shown: that of its public module, or of the module that a drop-in program knows.
#
# Pickles name the module where the class is defined: the receiver of an object loads that one, and no public module.


class Shown:
    """The package under which all are shown. One instance, `shown`."""

    def __init__(self) -> None:
        self.package = "polyproc"
        self.homes: dict[type, tuple[str, str]] = {}  # class -> its place, as `kind_of` says it; its public module

    def rename(self, package: str) -> None:
        """Show all under another package."""
        self.package = package
        for cls, (_, module) in self.homes.items():
            cls.__module__ = f"{package}.{module}" if module else package


shown = Shown()


def public(module: str) -> Callable[[C], C]:
    """Show a class as one of a public module; as one of polyproc itself for ""."""

    def show(cls: C) -> C:
        shown.homes[cls] = f"{cls.__module__}:{cls.__qualname__}", module
        cls.__module__ = f"{shown.package}.{module}" if module else shown.package
        return cls

    return show


def kind_of(obj: object) -> type | str:
    """Return what to pickle for the class of an object: its place, if it is a public class."""
    cls = type(obj)
    home = shown.homes.get(cls)
    return cls if home is None else home[0]


def of_kind(kind: type[Any] | str) -> Any:
    """Return the class that `kind_of` has described."""
    return load(*kind.split(":")) if isinstance(kind, str) else kind


def remake(kind: type[Any] | str) -> Any:
    """Make an object of a class, without its `__init__`: its state comes after."""
    cls = of_kind(kind)
    return cls.__new__(cls)


class Remade:
    """A base of classes that are pickled as their class and state."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return remake, (kind_of(self),), self.__getstate__()


# Live names: attributes of a public module that are read and written where they live.
#
# Programs rebind a few names of the standard library's modules, most often `resource_tracker.register`. A public module
# only imports, so a rebound copy there would be ignored. Which names are live, and for whom, stands in docs/adr/0010.


def live(public: str, home: Any, *names: str, **renamed: str) -> None:
    """Read, write and delete names of the module `public` in `home`, a module or an object.

    `names` are called the same there; of `renamed` each is given as what it is called there.
    """
    module = sys.modules[public]
    there = {**{name: name for name in names}, **renamed}
    members = {name: _member(home, there[name]) for name in there}
    for name in members:
        vars(module).pop(name, None)
    module.__class__ = type("PublicModule", (type(module),), members)


def _member(home: Any, name: str) -> property:
    def get(public: Any) -> Any:
        return getattr(home, name)

    def set(public: Any, value: Any) -> None:
        setattr(home, name, value)

    def delete(public: Any) -> None:
        delattr(home, name)

    return property(get, set, delete)
