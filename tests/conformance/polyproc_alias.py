"""Make `multiprocessing` mean polyproc in every Python of a virtual environment, whatever its flags: for conformance.

A .pth file of that environment imports this. `multiprocessing[.x]` is then the same module object as `polyproc[.x]`.
"""

import sys


class Alias:
    """Finds `multiprocessing[.x]`, and loads it as `polyproc[.x]`."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Return a spec for what is aliased."""
        if name.partition(".")[0] != "multiprocessing":
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
        real = import_module("polyproc" + name[len("multiprocessing") :])
        sys.modules[name] = real
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, real)


sys.meta_path.insert(0, Alias)
