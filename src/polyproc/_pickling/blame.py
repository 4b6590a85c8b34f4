"""Find which attribute of an object cannot be pickled, and say so in the error: `args[0].client.lock`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_DEPTH = 12
_WIDTH = 1000

HINT = "pass what it is made from and make it in the child, or give its class a __reduce__ method"


def add_blame(error: BaseException, obj: object, dumps: Callable[[object], object]) -> None:
    """Add a note to `error` that names the part of `obj` which `dumps` refuses."""
    path, culprit = _find(obj, dumps)
    where = f"{path}: " if path else ""
    error.add_note(f"cannot be sent to another process: {where}{_describe(culprit)}")
    error.add_note(f"hint: {HINT}")


def _find(obj: object, dumps: Callable[[object], object]) -> tuple[str, object]:
    path = ""
    for _ in range(_DEPTH):
        for step, part in _parts(obj):
            if _fails(part, dumps):
                path, obj = path + step, part
                break
        else:
            break
    return path.lstrip("."), obj


def _fails(part: object, dumps: Callable[[object], object]) -> bool:
    try:
        dumps(part)
    except Exception:  # noqa: BLE001  (whatever the pickler says, here it only answers yes or no)
        return True
    return False


def _parts(obj: object) -> Iterator[tuple[str, Any]]:
    """Yield (how it is written, the part) for what `obj` is made of."""
    parts: Iterator[tuple[str, Any]]
    if isinstance(obj, dict):
        parts = ((f"[{_short(key)}]", value) for key, value in obj.items())
    elif isinstance(obj, list | tuple):
        parts = ((f"[{index}]", value) for index, value in enumerate(obj))
    elif isinstance(obj, set | frozenset):
        parts = ((f"{{{_short(value)}}}", value) for value in obj)
    elif getattr(obj, "__closure__", None):
        parts = _closure_parts(obj)
    else:
        parts = _attribute_parts(obj)
    for count, part in enumerate(parts):
        if count == _WIDTH:
            return
        yield part


def _closure_parts(function: Any) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
        try:
            yield f".<closure {name}>", cell.cell_contents
        except ValueError:  # an empty cell
            pass


def _attribute_parts(obj: object) -> Iterator[tuple[str, Any]]:
    if hasattr(obj, "__self__") and hasattr(obj, "__func__"):
        yield ".__self__", obj.__self__
    shown = {"_target": ".target", "_args": ".args", "_kwargs": ".kwargs"}
    if not isinstance(obj, type):
        for name, value in getattr(obj, "__dict__", {}).items():
            yield shown.get(name, f".{name}"), value


def _describe(obj: object) -> str:
    return f"{_short(obj)} of type {type(obj).__module__}.{type(obj).__qualname__}"


def _short(obj: object) -> str:
    try:
        text = repr(obj)
    except Exception:  # noqa: BLE001  (a broken __repr__ must not hide the error that is being explained)
        text = f"<{type(obj).__name__} object>"
    return text if len(text) <= 80 else text[:77] + "..."
