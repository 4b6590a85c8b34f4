"""How to know a value again that is neither function nor class, and whether it was changed in place meanwhile.

No large value is kept alive for it, and no code of its class is run: it may be a proxy, which would look for its own.
"""

from __future__ import annotations

from _weakref import ref
from itertools import islice
from types import FunctionType, GetSetDescriptorType, ModuleType

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from typing import Any

_SAMPLE = 20
_LONG = 1000
_EXACT = {bool, int, float, complex, str, bytes, type(None)}
_NUMBERS = {bool, int, float, type(None)}
_NAMED = {ModuleType, FunctionType}
_CONTAINERS = {list, tuple, dict, set, frozenset}


def mark(value: object) -> Any:
    """Return how to know a value again, without keeping alive what is large: see `is_marked`."""
    kind = type(value)
    if kind in _EXACT:
        if isinstance(value, (str, bytes)) and len(value) > _LONG:
            return id(value), kind, len(value), None
        return value
    try:
        alive = ref(value)
    except TypeError:  # a list, a dictionary, ...
        alive = None
    return id(value), kind, _sample(value), alive


def _sample(value: object) -> list[Any]:
    """Return as much of what is in a value as shows, most often, that it was changed; runs no code of its class."""
    inside: Any = value if type(value) in _CONTAINERS else _attributes(value)
    if inside is None:
        return []
    sample: list[Any] = [len(inside)]
    try:
        for part in islice(inside, _SAMPLE):
            parts = (part, inside[part]) if type(inside) is dict else (part,)
            sample += [one if type(one) in _NUMBERS else id(one) for one in parts]
    except RuntimeError:  # it changes meanwhile
        pass
    return sample


def _attributes(value: object) -> dict[str, Any] | None:
    kind = type(value)
    if kind in _NAMED or issubclass(kind, type):
        return None
    for cls in kind.__mro__:
        found = vars(cls).get("__dict__")
        if found is not None:
            return found.__get__(value) if type(found) is GetSetDescriptorType else None  # else it may be a proxy's
    return None


def is_marked(before: Any, value: object) -> bool:
    """Return whether a value is the one that was marked, and has the same inside, as far as a look shows."""
    now = mark(value)
    if type(before) is not tuple or type(now) is not tuple:
        return type(before) is type(now) and (before is now or bool(before == now))
    return bool(before[:3] == now[:3]) and (before[3] is None or before[3]() is value)
