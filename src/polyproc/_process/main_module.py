"""The parent's `__main__` in a child: imported here as `__mp_main__`, from the code that the parent sent.

No guard is needed: the first top-level start ends the import quietly, since every name that a target can need was
bound above that line.
"""

from __future__ import annotations

import marshal
import sys

from polyproc._process.bootstrap import MainReached
from polyproc._process.state import process_state

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any

_HAS_CACHED = sys.version_info < (3, 15)


def import_main(kind: str, name: str, code: bytes) -> None:
    """Make `__main__` and `__mp_main__` the module that the parent described."""
    module = type(sys)("__mp_main__")
    scope: dict[str, Any] = module.__dict__
    if kind == "name":
        spec = _find_spec(name)
        scope.update(__spec__=spec, __package__=name.rpartition(".")[0])
        if spec is not None:
            scope.update(__file__=spec.origin, __loader__=spec.loader)
            if _HAS_CACHED:
                scope["__cached__"] = spec.cached
            scope["__package__"] = spec.parent
    else:
        scope.update(__file__=name, __package__="")
        if _HAS_CACHED:
            scope["__cached__"] = None
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    process_state.importing_main = True
    try:
        exec(marshal.loads(code), scope)
    except MainReached:
        pass
    finally:
        process_state.importing_main = False


def _find_spec(name: str) -> Any:
    from importlib.util import find_spec

    package = name.rpartition(".")[0]
    if package:
        __import__(package)
    return find_spec(name)
