"""The default context, and the one place where processes get their launchers."""

from __future__ import annotations

import sys

from polyproc._context.context import BaseContext
from polyproc._context.start_methods import contexts
from polyproc._lazy import said
from polyproc._platform.posix import start_methods
from polyproc._process.kinds import Process
from polyproc._process.state import process_state
from polyproc._public import public
from polyproc._typing import TYPE_CHECKING, Any, Callable, Sequence

if TYPE_CHECKING:
    from polyproc._process.process import BaseProcess
    from polyproc.abc import ChildHandle


@public("context")
class DefaultContext(BaseContext):
    """The context of the module-level names: its start method is chosen once, at the latest by its first use."""

    Process = Process

    @property
    def _actual_context(self) -> BaseContext | None:
        return None if process_state.start_method is None else contexts[process_state.start_method]

    @_actual_context.setter
    def _actual_context(self, context: BaseContext | None) -> None:
        process_state.start_method = None if context is None else context._name

    def get_context(
        self, method: str | None = None, *, preload: Sequence[str] | None = None, **options: Any
    ) -> BaseContext:
        """Return the context of a start method; without a name, the one that is in use, which is thereby chosen.

        `preload`, for spawn, opts into a warm spare: see BaseContext.get_context.
        """
        if method is not None or preload is not None or options:
            return super().get_context(method, preload=preload, **options)
        if process_state.start_method is None:
            process_state.start_method = start_methods()[0]
        return contexts[process_state.start_method]

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Choose the start method, once. Raises RuntimeError if it has been chosen, unless forced.

        In a child that imports its parent's unguarded main module it does nothing: the parent has chosen.
        """
        if method is not None:
            self.get_context(method)  # raises for a name that is none
        if process_state.importing_main and method is not None:
            return
        if process_state.start_method is not None and not force:
            text = "context has already been set"
            raise RuntimeError(said("chosen_before", text, process_state.start_method))
        process_state.start_method = self.get_context(None)._name if method is None and not force else method

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """Return the name of the start method; None if none was chosen and that is allowed."""
        return process_state.start_method if allow_none else self.get_context()._name

    def get_all_start_methods(self) -> list[str]:
        """Return the start methods of this system, the default first."""
        return start_methods()


default_context = DefaultContext()


def force_start_method(method: str | None) -> None:
    """Choose the start method, whatever was chosen before."""
    default_context.set_start_method(method, force=True)


def launcher(method: str | None) -> Callable[[BaseProcess[Any]], ChildHandle]:
    """Return what starts a process object by a start method; None stands for the default one."""
    if method is None:
        return default_context.get_context().Process._Popen
    return contexts[method].launcher()


# Objects of main that come back from a child name their module __mp_main__.
if "__main__" in sys.modules:
    sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
