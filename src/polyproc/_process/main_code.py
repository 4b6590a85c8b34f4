"""This process's main module, as its children need it: described and compiled once.

As in the standard library, a main that has a file is imported again (`main_module.py`), without its
`if __name__ == "__main__"` part, so that its functions and classes are found by name. The difference: the parent sends
the code object, so no child reads or compiles the file.

A main without a file (a prompt, `-c`, standard input, a notebook) is not imported: what it defines travels by value
(`_pickling/by_value.py`).
"""

from __future__ import annotations

import marshal
import os
import sys

from polyproc._process.family import family

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from types import CodeType, ModuleType

    MainDescription = tuple[str, str, bytes]  # kind, name or path, marshalled code

_DEFINED = (type, type(lambda: None))


class MainCode:
    """The compiled main of this process, kept for its next children. One instance, `main_code`."""

    def __init__(self) -> None:
        self.stamp: object = None
        self.description: MainDescription | None = None
        self.names: frozenset[str] | None = None

    def describe(self) -> MainDescription | None:
        """Return what a child needs to import our main module, None if there is nothing to import."""
        main = sys.modules.get("__main__")
        spec_name = getattr(getattr(main, "__spec__", None), "name", None)
        if main is None:
            return None
        if spec_name is not None:
            return self._by_name(main, spec_name)
        path = getattr(main, "__file__", None)
        if path is None or not isinstance(path, str):
            return None
        if not os.path.isabs(path) and family.original_dir is not None:
            path = os.path.join(family.original_dir, path)
        return self._by_path(os.path.normpath(path))

    def _by_name(self, main: ModuleType, name: str) -> MainDescription | None:
        # A __main__.py of a package, directory or archive is all guard: it is never imported by a child.
        if name == "__main__" or name.endswith(".__main__"):
            return None
        if self.stamp != name:
            spec = main.__spec__
            code = spec.loader.get_code(name) if spec is not None and spec.loader is not None else None  # type: ignore[attr-defined]
            self.stamp = name
            self.description = None if code is None else ("name", name, marshal.dumps(code))
        return self.description

    def _by_path(self, path: str) -> MainDescription | None:
        # IPython's launcher has no guard, and nothing that a child could need.
        if os.path.splitext(os.path.basename(path))[0] == "ipython":
            return None
        try:
            info = os.stat(path)
        except OSError:
            return None  # "<stdin>" and its like: there is no file
        stamp = (path, info.st_mtime_ns, info.st_size)
        if self.stamp != stamp:
            self.description = ("path", path, marshal.dumps(_compile(path)))
            self.stamp = stamp
        return self.description

    def offers(self, name: str) -> bool:
        """Say whether a child finds `name` in main: it imports main, and had the name when it came to its end."""
        return self.describe() is not None and (self.names is None or name in self.names)

    def is_importable(self) -> bool:
        """Say whether a child imports our main module, so that its functions may be pickled by reference."""
        return self.describe() is not None

    def has_late_definitions(self) -> bool:
        """Say whether main has got functions or classes since its first start of a child."""
        if self.names is None:
            return False
        scope = vars(sys.modules["__main__"])
        return any(
            isinstance(scope[name], _DEFINED) and getattr(scope[name], "__module__", None) == "__main__"
            for name in scope.keys() - self.names
        )

    def note_names(self) -> None:
        """At the first start: remember which names main had, since a child's import ends there without a guard."""
        if self.names is None:
            self.names = frozenset(vars(sys.modules["__main__"]))


main_code = MainCode()
describe_main = main_code.describe


def _compile(path: str) -> CodeType:
    with open(path, "rb") as file:
        data = file.read()
    if data[2:4] == b"\r\n" and path.endswith(".pyc"):
        # A legacy .pyc as a script: 16 bytes of header (PEP 552), then the marshalled code.
        code: CodeType = marshal.loads(data[16:])
        return code
    return compile(data, path, "exec", dont_inherit=True)
