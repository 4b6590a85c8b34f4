"""Live names: attributes of a public module that are read and written where they live.

Programs rebind a few names of the standard library's modules, most often `resource_tracker.register`. A public module
only imports, so a rebound copy there would be ignored. Which names are live, and for whom, stands in docs/adr/0010.
"""

from __future__ import annotations

import sys

from polyproc._typing import Any


def live(public: str, home: Any, *names: str, **renamed: str) -> None:
    """Read, write and delete names of the module `public` in `home`, a module or an object.

    `names` are called the same there; of `renamed` each is given as what it is called there.
    """
    module = sys.modules[public]
    there = {**{name: name for name in names}, **renamed}
    members = {name: _member(home, there[name]) for name in there}
    for name in members:
        vars(module).pop(name, None)
    module.__class__ = type("PublicModule", (type(module),), members)


def _member(home: Any, name: str) -> property:
    def get(public: Any) -> Any:
        return getattr(home, name)

    def set(public: Any, value: Any) -> None:
        setattr(home, name, value)

    def delete(public: Any) -> None:
        delattr(home, name)

    return property(get, set, delete)
