"""Import a home when it is first asked for. Used where an import at the top would cost every child or make a cycle.

Who may use it, and for what, is a short list: the root (`polyproc/__init__.py`), and the upward calls of
`_process`, `_pickling` and `_memory` that docs/adr/0003 describes. All may ask what is `said` of a wrong call.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any


def load(module: str, attribute: str) -> object:
    """Return `attribute` of `module`, imported if it was not."""
    if module not in sys.modules or _is_begun(sys.modules[module]):
        __import__(module)  # and not importlib, which a bare child has not loaded; waits for who imports it
    return getattr(sys.modules[module], attribute)


def loaded(module: str) -> object | None:
    """Return the module if somebody has imported it, else None; import nothing."""
    found = sys.modules.get(module)
    return None if found is None or _is_begun(found) else found


def said(about: str, *given: object) -> Any:
    """Return what a function of polyproc/_misuse.py says of a call, or what was meant by it after all."""
    return load("polyproc._misuse", about)(*given)  # type: ignore[operator]


def _is_begun(module: object) -> bool:
    """Return whether a thread imports it now: it is among sys.modules from the beginning, with what it has by then."""
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


class Later:
    """A module of the standard library that is imported when something of it is asked for: most programs never do."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        __import__(self._name)
        return getattr(sys.modules[self._name], attribute)
