"""Collect what a new child that shares no memory with its parent is told of it; the child applies that in `job.py`.

The message is marshalled, not pickled: a child can read it with nothing imported.
"""

from __future__ import annotations

import _ast
import marshal
import os
import re
import sys

from polyproc._base.modules import loaded
from polyproc._base.process_state import process_state
from polyproc._base.typing import TYPE_CHECKING, Any, Callable
from polyproc._process.receiving import check_start

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from types import CodeType, ModuleType

    MainDescription = tuple[str, str, bytes]  # kind, name or path, marshalled code


# This process's main module, as its children need it: described and compiled once.
#
# As in the standard library, a main that has a file is imported again (`job.py`), without its
# `if __name__ == "__main__"` part, so that its functions and classes are found by name. The difference: the parent
# sends the code object, so no child reads or compiles the file.
#
# A main without a file (a prompt, `-c`, standard input, a notebook) is not imported: what it defines travels by value
# (`_pickling/main_definitions.py`).

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


Preparation = dict[str, Any]


def capture_tracker(preparation: Preparation, passed: Callable[[int], int], is_sent: bool) -> None:
    """Tell of the family's tracker, if there is one.

    Args:
        preparation: what the child is told, which this adds to.
        passed: has a descriptor passed to the child; returns its number there or, if they are sent, its place.
        is_sent: whether they are.
    """
    module: Any = loaded("polyproc._memory.tracker")
    member: Any = None
    if module is not None:
        member = module.tracker.member()
    elif process_state.tracker is not None and process_state.tracker[1].is_there():
        member = process_state.tracker[0], process_state.tracker[1].fd
    if member is not None:
        preparation.update(tracker=passed(member[1]), tracker_is_sent=is_sent, tracker_mark=member[0])


def capture(name: str) -> Preparation:
    """Describe this process for a child named `name`. Raises RuntimeError where none may be started."""
    hidden = check_start()
    path = sys.path.copy()
    if "" in path and process_state.original_dir is not None:
        path[path.index("")] = process_state.original_dir
    preparation: Preparation = {
        "name": str.__str__(name),  # and no subclass
        "authkey": bytes(process_state.current.authkey),
        "sys_path": path,
        "sys_argv": sys.argv,
        "orig_dir": process_state.original_dir,
        "ancestors": process_state.ancestors,
    }
    if hidden:
        preparation["hidden_starts"] = hidden
    try:
        preparation["dir"] = os.getcwd()
    except OSError:  # the directory was removed: the child stays where it is
        pass
    logger = loaded("polyproc._base.logger")
    state = None if logger is None else logger.logging_state.capture()  # type: ignore[attr-defined]
    if state is not None:
        preparation["logging"] = state
    if process_state.drop_in:
        preparation["drop_in"] = True
    if getattr(sys, "frozen", False):
        preparation["frozen"] = True
    return preparation


def pack_objects(preparation: Preparation) -> Preparation:
    """Pickle what cannot be marshalled: a program may put anything into sys.path and sys.argv."""
    objects = {}
    for name in _LISTS:
        if any(type(item) is not str for item in preparation.get(name, ())):
            objects[name] = [str.__str__(item) if isinstance(item, str) else item for item in preparation[name]]
            preparation[name] = [item for item in objects[name] if isinstance(item, str)]  # what imports look at
    if objects:
        from polyproc._pickling.pickler import dumps

        preparation["objects"] = dumps(objects)
    return preparation


_LISTS = ("sys_path", "sys_argv")


def capture_extras(preparation: Preparation) -> Preparation:
    """Add what a program tells its children beyond that: coverage replaces `spawn.get_preparation_data` for it."""
    public: Any = loaded("polyproc.spawn")
    if public is not None and (describe := public.get_preparation_data) is not get_preparation_data:
        described = describe(preparation["name"])
        extras = {key: described[key] for key in described.keys() - preparation.keys() - {"main"}}
        from polyproc._pickling.pickler import dumps

        preparation["extras"] = dumps(extras)
    return preparation


def get_preparation_data(name: str) -> Preparation:
    """Return what a child named `name` is told about this process."""
    return capture_main(capture(name))


def capture_main(preparation: Preparation) -> Preparation:
    """Add what the child needs to import this process's main module."""
    main = describe_main()
    if main is not None:
        preparation["main"] = main
    return preparation
