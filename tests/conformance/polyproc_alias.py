"""Make `multiprocessing` mean polyproc in every Python of a virtual environment, whatever its flags: for conformance.

A .pth file of that environment imports this. `multiprocessing[.x]` is then the same module object as `polyproc[.x]`.
What polyproc does not have yet is stood in for by an object that skips the test which uses it.
"""

import sys
import types
import unittest

_NOT_YET_NAMES = {
    "": ["Manager"],
    ".dummy": ["Value", "Array", "Manager", "list", "dict"],
}
_NOT_YET_MODULES = {"managers"}


class NotYet:
    """Stands for a class or function that is not there: using it skips the test."""

    def __new__(cls, *args, **kwargs):
        raise unittest.SkipTest(f"polyproc does not have {cls.__name__} yet")

    @classmethod
    def register(cls, *args, **kwargs):
        """Take what a test module registers at its import."""


def _not_yet_module(name):
    module = types.ModuleType(name)
    module.__all__ = []
    module.__path__ = []

    def missing(attribute):
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if attribute == "_resource_tracker":
            return types.SimpleNamespace(_stop=lambda: None, ensure_running=lambda: None)
        return type(attribute, (NotYet,), {})

    module.__getattr__ = missing
    return module


class Alias:
    """Finds `multiprocessing[.x]`, and loads it as `polyproc[.x]`."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Return a spec for what is aliased."""
        package, _, rest = name.partition(".")
        if package != "multiprocessing" and not (package == "polyproc" and rest in _NOT_YET_MODULES):
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, Alias)

    @staticmethod
    def create_module(spec):
        """Leave it to the import system: the module is replaced when it is executed."""

    @staticmethod
    def exec_module(module):
        """Put the real module in place."""
        from importlib import import_module

        name = module.__spec__.name
        rest = name[len(name.partition(".")[0]) :]
        if rest[1:] in _NOT_YET_MODULES:
            module = sys.modules.get("polyproc" + rest)
            if module is None or not hasattr(module, "__all__"):
                module = _not_yet_module("polyproc" + rest)
            sys.modules[name] = sys.modules["polyproc" + rest] = module
            setattr(import_module("polyproc"), rest[1:], module)
            return
        real = import_module("polyproc" + rest)
        for missing in _NOT_YET_NAMES.get(rest, ()):
            if not hasattr(real, missing):
                setattr(real, missing, type(missing, (NotYet,), {}))
        sys.modules[name] = real
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, real)


sys.meta_path.insert(0, Alias)
