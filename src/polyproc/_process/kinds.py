"""The Process classes: one for each start method, and the one that takes the default."""

from __future__ import annotations

from polyproc._lazy import load
from polyproc._process.process import BaseProcess, T
from polyproc._public import public

TYPE_CHECKING = False  # a bare name: a child does without `typing`, type checkers know what is meant
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from polyproc.abc import ChildHandle


@public("context")
class Process(BaseProcess[T]):
    """A process started by the default start method."""

    @staticmethod
    def _Popen(process_obj: BaseProcess[Any]) -> ChildHandle:
        return launchers[None](process_obj)


@public("context")
class ForkProcess(BaseProcess[T]):
    """A process started by fork."""

    _start_method = "fork"

    @staticmethod
    def _Popen(process_obj: BaseProcess[Any]) -> ChildHandle:
        return launchers["fork"](process_obj)


@public("context")
class SpawnProcess(BaseProcess[T]):
    """A process started as a fresh interpreter."""

    _start_method = "spawn"

    @staticmethod
    def _Popen(process_obj: BaseProcess[Any]) -> ChildHandle:
        return launchers["spawn"](process_obj)


@public("context")
class ForkServerProcess(BaseProcess[T]):
    """A process started by the fork server."""

    _start_method = "forkserver"

    @staticmethod
    def _Popen(process_obj: BaseProcess[Any]) -> ChildHandle:
        return launchers["forkserver"](process_obj)


class Launchers(dict[str | None, "Callable[[BaseProcess[Any]], ChildHandle]"]):
    """How each start method launches, found when first needed; None stands for the default method.

    The launchers stand above this package, and most children never start one: this is the one call that goes up.
    """

    def __missing__(self, method: str | None) -> Callable[[BaseProcess[Any]], ChildHandle]:
        launcher: Callable[[BaseProcess[Any]], ChildHandle] = load("polyproc._context.default", "launcher")(method)  # type: ignore[operator]
        if method is not None:
            self[method] = launcher
        return launcher


launchers = Launchers()


def launched_by(launcher: Any, base: type[BaseProcess[Any]]) -> type[Any]:
    """Return `base` with a launcher of its own, which has a `launch`; in the child it is `base`."""

    class LaunchedProcess(base):  # type: ignore[misc, valid-type]
        _launcher = launcher

        @staticmethod
        def _Popen(process_obj: BaseProcess[Any]) -> ChildHandle:
            return launcher.launch(process_obj)  # type: ignore[no-any-return]

        def __reduce_ex__(self, protocol: Any) -> Any:
            if type(self) is not LaunchedProcess or self._popen is not None:
                return super().__reduce_ex__(protocol)
            return base.__new__, (base,), self.__dict__.copy()

    LaunchedProcess.__name__ = LaunchedProcess.__qualname__ = base.__name__
    return LaunchedProcess
