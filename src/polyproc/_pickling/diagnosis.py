"""Find which attribute of an object cannot be pickled, and say so in the error: `args[0].client.lock`.

A path is in the words of the caller: of a process its `args`, of what is put or sent `obj`, of a call of a pool or of a
manager its `args` (`in_callers_words`), of a function its own name.
"""

from __future__ import annotations

from polyproc._base.modules import Later
from polyproc._base.typing import Any, Callable, Iterator

re: Any = Later("re")

_NOTE = "cannot be sent to another process: "
_DEPTH = 12
_WIDTH = 1000

HINT = "pass what it is made from and make it in the child, or give its class a __reduce__ method"


def add_diagnosis(error: BaseException, obj: object, dumps: Callable[[object], object]) -> None:
    """Add a note to `error` that names the part of `obj` which `dumps` refuses."""
    path, culprit = _find(obj, dumps)
    where = f"{_root(obj)}{path}".lstrip(".") + ": " if path else ""
    error.add_note(f"{_NOTE}{where}{_describe(culprit)}")
    if not hasattr(culprit, "_stays_here"):
        error.add_note(f"hint: {HINT}")


def in_callers_words(error: BaseException, *names: tuple[str, str]) -> None:
    """Name parts of a message, in the note of an error, as the caller knows them: patterns, and their names."""
    for index, note in enumerate(getattr(error, "__notes__", ())):
        if isinstance(note, str) and note.startswith(_NOTE):
            for pattern, name in names:
                if found := re.match(pattern, note[len(_NOTE) :]):
                    error.__notes__[index] = _NOTE + found.expand(name) + note[len(_NOTE) + found.end() :]
                    break


def _root(obj: object) -> str:
    if "_target" in getattr(obj, "__dict__", ()):  # a process
        return ""
    name = getattr(obj, "__qualname__", None)
    return name if isinstance(name, str) else "obj"


def _find(obj: object, dumps: Callable[[object], object]) -> tuple[str, object]:
    path = ""
    for _ in range(_DEPTH):
        if hasattr(obj, "_stays_here"):  # what it is made of is no matter of the caller's
            break
        for step, part in _parts(obj):
            if _fails(part, dumps):
                path, obj = path + step, part
                break
        else:
            break
    return path, obj


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
