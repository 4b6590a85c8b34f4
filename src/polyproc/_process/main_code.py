"""This process's main module, as its children need it: described and compiled once.

As in the standard library, a main that has a file is imported again (`main_module.py`), without its
`if __name__ == "__main__"` part, so that its functions and classes are found by name. The difference: the parent sends
the code object, so no child reads or compiles the file.

A main without a file (a prompt, `-c`, standard input, a notebook) is not imported: what it defines travels by value
(`_pickling/main_definitions.py`).
"""

from __future__ import annotations

import _ast
import marshal
import os
import re
import sys

from polyproc._process.state import process_state

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from types import CodeType, ModuleType

    MainDescription = tuple[str, str, bytes]  # kind, name or path, marshalled code

_GUARD = rb"^if\b[^\n]*\b__name__\b[^\n]*__main__[^\n]*\n(?:[ \t#)\]}][^\n]*\n|[ \t]*\n)*(?:[ \t][^\n]*\Z)?"
_SCOPES = (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.ClassDef)


class _All:
    """All names."""

    def __contains__(self, name: object) -> bool:
        return True


_ALL = _All()


class MainCode:
    """The compiled main of this process, kept for its next children. One instance, `main_code`."""

    def __init__(self) -> None:
        self.stamp: object = None
        self.description: MainDescription | None = None
        self._guarded: frozenset[str] = frozenset()
        self._guarded_by: object = None  # the stamp of what that was read in

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
        if not os.path.isabs(path) and process_state.original_dir is not None:
            path = os.path.join(process_state.original_dir, path)
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

    def missing(self) -> Container[str]:
        """Return the names of our main module that no child gets by importing it: all, if none imports it."""
        if self.describe() is None:
            return _ALL
        if self._guarded_by != self.stamp:
            self._guarded_by, self._guarded = self.stamp, frozenset(self._read_guard())
        return self._guarded

    def _read_guard(self) -> Iterator[str]:
        """Yield the names that main binds where a child does not come: below `if __name__ == "__main__"`."""
        assert self.description is not None
        kind, path, _ = self.description
        try:
            if kind == "name":
                source: bytes = sys.modules["__main__"].__loader__.get_source(path).encode()  # type: ignore[union-attr]
            else:
                with open(path, "rb") as file:
                    source = file.read()
            for block in re.findall(_GUARD, source, re.MULTILINE):
                yield from _names_bound_in(compile(block, path, "exec", _ast.PyCF_ONLY_AST))
        except (OSError, SyntaxError, ValueError, AttributeError):  # there is no source that we could read
            return


main_code = MainCode()
describe_main = main_code.describe


def _names_bound_in(node: _ast.AST) -> Iterator[str]:
    if isinstance(node, _SCOPES):
        yield node.name
        return
    if isinstance(node, _ast.Name) and isinstance(node.ctx, _ast.Store):
        yield node.id
    elif isinstance(node, _ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    for field in node._fields:
        inside = getattr(node, field, None)
        for part in inside if isinstance(inside, list) else [inside]:
            if isinstance(part, _ast.AST):
                yield from _names_bound_in(part)


def _compile(path: str) -> CodeType:
    with open(path, "rb") as file:
        data = file.read()
    if data[2:4] == b"\r\n" and path.endswith(".pyc"):
        # A legacy .pyc as a script: 16 bytes of header (PEP 552), then the marshalled code.
        code: CodeType = marshal.loads(data[16:])
        return code
    return compile(data, path, "exec", dont_inherit=True)
