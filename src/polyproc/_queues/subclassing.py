"""A subclass that overrides the insides of a queue gets the insides that it overrides (docs/adr/0017).

Libraries subclass the standard library's queues and replace how they feed their pipe, or what goes with them to a
child. On our queues, which have no pipe, that would have no effect, or break. Such a subclass is told by the names that
its code uses; its base becomes the queue's classic form, which is built as theirs.
"""

from __future__ import annotations

from types import CodeType

from polyproc._lazy import load, loaded
from polyproc._typing import Any

_INSIDES = frozenset(
    (
        "_after_fork",
        "_buffer",
        "_feed",
        "_finalize_close",
        "_finalize_join",
        "_notempty",
        "_recv",
        "_recv_bytes",
        "_reset",
        "_rlock",
        "_send",
        "_send_bytes",
        "_start_thread",
        "_wlock",
    )
)


class Subclassed(type):
    """The type of queues that have a classic form: `_classic` says where it is."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Subclassed:
        if "_classic" not in namespace and not _INSIDES.isdisjoint(_names(namespace)):
            bases = tuple(_classic_form(base) for base in bases)
        return super().__new__(mcls, name, bases, namespace)

    def __instancecheck__(cls, obj: object) -> bool:
        """Say yes to objects of the classic form, too."""
        return super().__instancecheck__(obj) or cls.__subclasscheck__(type(obj))

    def __subclasscheck__(cls, kind: type) -> bool:
        """Say yes to subclasses of the classic form, too."""
        if super().__subclasscheck__(kind):
            return True
        module, name = cls.__dict__.get("_classic", ("", ""))
        return loaded(module) is not None and load(module, name) in kind.__mro__


def _classic_form(base: type) -> type:
    place = base.__dict__.get("_classic")
    return base if place is None else load(*place)  # type: ignore[return-value]


def _names(namespace: dict[str, Any]) -> set[str]:
    """Return the names that a class defines, and those that its functions use."""
    names = set(namespace)
    for member in namespace.values():
        for function in (member.fget, member.fset) if isinstance(member, property) else (member,):
            code = getattr(getattr(function, "__func__", function), "__code__", None)
            if isinstance(code, CodeType):
                names |= _names_in(code)
    return names


def _names_in(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names_in(constant)
    return names
