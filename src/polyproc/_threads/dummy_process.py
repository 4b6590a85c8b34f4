"""A Process that is a thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping

from polyproc._base.modules import public
from polyproc._base.typing import Any, Callable, Iterable


@public("dummy")
class DummyProcess(threading.Thread):
    """The interface of Process, on a thread."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., Any] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] = {},
    ) -> None:
        super().__init__(group, target, name, tuple(args), dict(kwargs))
        self._pid = None
        self._children: weakref.WeakKeyDictionary[DummyProcess, None] = weakref.WeakKeyDictionary()
        self._start_called = False
        self._parent = current_process()

    def start(self) -> None:
        """Start the thread; only from the one that made this object."""
        if self._parent is not current_process():
            raise RuntimeError(f"Parent is {self._parent!r} but current_process is {current_process()!r}")
        self._start_called = True
        if hasattr(self._parent, "_children"):
            self._parent._children[self] = None
        super().start()

    @property
    def exitcode(self) -> int | None:
        """0 when it has ended, else None."""
        return 0 if self._start_called and not self.is_alive() else None


Process = DummyProcess


def current_process() -> Any:
    """Return the thread that calls."""
    return threading.current_thread()


def active_children() -> list[Any]:
    """Return the threads that the calling one has started and that run."""
    children = current_process().__dict__.setdefault("_children", weakref.WeakKeyDictionary())
    for child in list(children):
        if not child.is_alive():
            children.pop(child, None)
    return list(children)


def freeze_support() -> None:
    """Do nothing: threads need no executable."""
