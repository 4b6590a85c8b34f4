"""Import a home when it is first asked for. Used where an import at the top would cost every child or make a cycle.

Who may use it, and for what, is a short list: the front door (`polyproc/__init__.py`), and the upward calls of
`_process`, `_pickling` and `_memory` that docs/adr/0003 describes.
"""

from __future__ import annotations

import sys


def load(module: str, attribute: str) -> object:
    """Return `attribute` of `module`, imported if it was not."""
    if module not in sys.modules:
        __import__(module)  # and not importlib, which a bare child has not loaded
    return getattr(sys.modules[module], attribute)


def loaded(module: str) -> object | None:
    """Return the module if somebody has imported it, else None; import nothing."""
    return sys.modules.get(module)
