"""Modules that go along to another host: read here, and found there before any other of their name."""

from __future__ import annotations

import importlib.util
import marshal
import sys
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pkgutil import iter_modules
from types import CodeType, ModuleType

from polyproc._base.typing import Any, Iterable, Iterator, Mapping, Sequence

# Whether it is a package, its file here, its code.
CarriedModule = tuple[bool, str, bytes]


def carry(names: Iterable[str]) -> dict[str, CarriedModule]:
    """Read modules, and with a package all that is below it.

    Raises:
        ImportError: there is no such module, or it has no Python code that could be sent.
    """
    carried: dict[str, CarriedModule] = {}
    for name in names:
        for found in _with_parts(name):
            carried.setdefault(found, _read(found))
    return carried


def _with_parts(name: str) -> Iterator[str]:
    parts = name.split(".")
    for length in range(1, len(parts)):  # its packages, which are imported first
        yield ".".join(parts[:length])
    yield name
    spec = _spec_of(name)
    for part in iter_modules(spec.submodule_search_locations, f"{name}.") if spec.submodule_search_locations else ():
        if part.ispkg or _has_code(part.name):
            yield from _with_parts(part.name)


def _spec_of(name: str) -> ModuleSpec:
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"no module named {name!r}: modules= names those that go along", name=name)
    return spec


def _has_code(name: str) -> bool:
    """Return whether a module of a package can go along: a part that is compiled to machine code stays here."""
    return isinstance(_spec_of(name).loader, InspectLoader)


def _read(name: str) -> CarriedModule:
    spec = _spec_of(name)
    code = spec.loader.get_code(name) if isinstance(spec.loader, InspectLoader) else None
    if code is None:
        raise ImportError(f"{name!r} is no Python code, and cannot go along to another host", name=name)
    return spec.submodule_search_locations is not None, spec.origin or f"<{name}>", marshal.dumps(code)


class CarriedFinder(MetaPathFinder, Loader):
    """Finds, on the node, what was carried there."""

    def __init__(self, modules: Mapping[str, CarriedModule]) -> None:
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module that was carried here."""
        found = self._modules.get(fullname)
        if found is None:
            return None
        is_package, origin, _ = found
        spec = ModuleSpec(fullname, self, origin=origin, is_package=is_package)
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Run its code."""
        code: CodeType = marshal.loads(self._modules[module.__name__][2])
        exec(code, module.__dict__)

    def get_code(self, fullname: str) -> Any:
        """Return its code, for those who carry it further."""
        return marshal.loads(self._modules[fullname][2])


def install(modules: Mapping[str, CarriedModule]) -> None:
    """Make imports find these modules."""
    if modules:
        sys.meta_path.insert(0, CarriedFinder(modules))
