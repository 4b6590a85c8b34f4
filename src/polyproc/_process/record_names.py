"""`%(processName)s` in log records is the process's own name, also where `multiprocessing` is another library, or none.

`logging` asks the module `multiprocessing`, if somebody has imported that, for the name, and else takes "MainProcess".
That module may be the standard library's, which knows nothing of our processes. So a record that is given that default
takes our name for this process, as it is at that moment; a record that is given another name keeps it, and so does one
of a program that has put None in the place of `multiprocessing`.
"""

from __future__ import annotations

import sys

from polyproc._process.state import process_state

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_DEFAULT = "MainProcess"  # what `logging` takes for a process of which it knows nothing


class _Name:
    """What `LogRecord.processName` is set through; a record's own attributes hold it, as `logging` wants them."""

    def __get__(self, record: Any, owner: type | None = None) -> Any:
        if record is None:
            return self
        try:
            return record.__dict__["processName"]
        except KeyError:
            raise AttributeError("processName") from None

    def __set__(self, record: Any, name: str | None) -> None:
        is_ours = name == _DEFAULT and sys.modules.get("multiprocessing", sys) is not None
        record.__dict__["processName"] = process_state.current._name if is_ours else name

    def __delete__(self, record: Any) -> None:
        try:
            del record.__dict__["processName"]
        except KeyError:
            raise AttributeError("processName") from None


class _WhenLogging:
    """A finder that finds nothing: it has `logging` named the moment that it is imported, and is gone then."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return None, but for `logging` the spec that the others find."""
        if name != "logging":
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                _name_after(spec.loader)
                return spec
        return None


def _name_after(loader: Any) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        name_records(module)

    try:
        loader.exec_module = exec_module
    except AttributeError:  # a class of built-in modules, or one with slots
        pass


def name_records(logging: Any) -> None:
    """Make the records of `logging` name the process."""
    if not isinstance(vars(logging.LogRecord).get("processName"), _Name):
        logging.LogRecord.processName = _Name()


def begin() -> None:
    """Make log records name the process from now on, or from when `logging` is imported."""
    logging = sys.modules.get("logging")
    if hasattr(logging, "LogRecord"):
        name_records(logging)
    elif not any(type(finder) is _WhenLogging for finder in sys.meta_path):
        sys.meta_path.insert(0, _WhenLogging())
