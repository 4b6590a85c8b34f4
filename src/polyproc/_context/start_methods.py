"""The start methods: for each, its Process class and its launcher."""

from __future__ import annotations

from polyproc._context import factories
from polyproc._context.context import BaseContext
from polyproc._platform.posix import start_methods
from polyproc._process.kinds import ForkProcess, ForkServerProcess, SpawnProcess
from polyproc._public import public
from polyproc._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyproc._context.factories import Launcher


@public("context")
class ForkContext(BaseContext):
    """Processes are copies of this one."""

    _name = "fork"
    Process = ForkProcess

    def launcher(self) -> Launcher:
        """Return what starts a process object."""
        return factories.fork_popen()


@public("context")
class SpawnContext(BaseContext):
    """Processes are fresh interpreters."""

    _name = "spawn"
    Process = SpawnProcess

    def launcher(self) -> Launcher:
        """Return what starts a process object."""
        return factories.spawn_popen()

    def with_spares(self, modules: list[str]) -> BaseContext:
        """Return a spawn context whose next child is started ahead."""
        return factories.spares(self, modules)


@public("context")
class ForkServerContext(BaseContext):
    """Processes are copies of a fork server."""

    _name = "forkserver"
    Process = ForkServerProcess

    def launcher(self) -> Launcher:
        """Return what starts a process object."""
        return factories.forkserver_popen()


_all: dict[str, type[BaseContext]] = {"fork": ForkContext, "spawn": SpawnContext, "forkserver": ForkServerContext}
contexts: dict[str, BaseContext] = {name: _all[name]() for name in start_methods()}
BaseContext._contexts = contexts
