"""A warm spare: an interpreter that was started ahead, has loaded what a child needs, and waits for its job.

Opted into by `get_context("spawn", preload=[...])`. It is a fresh interpreter like every spawned child: nothing was
forked. One that was started under other circumstances (environment, executable, limits, processors) is thrown away.
The working directory, sys.path and the like come with the job, as ever.

A spare ends when its channel does: with its owner, or when it is thrown away. Killed while it waits, another is
started: it had not got the job.
"""

from __future__ import annotations

import os
import threading

from polyproc._base.typing import TYPE_CHECKING, Any
from polyproc._platform.circumstances import Circumstances, environ
from polyproc._platform.interpreter import command_line, starter
from polyproc._process.child_life import lifeline
from polyproc._process.preparation import capture, describe_main
from polyproc._start import protocol
from polyproc._start.protocol import socketpair
from polyproc._start.spawn import start_program
from polyproc._start.waiting_child import WaitingChild

if TYPE_CHECKING:
    from polyproc._process.process import BaseProcess


class SpareInterpreter:
    """A spare that waits."""

    def __init__(self, modules: list[str]) -> None:
        self.surroundings = _surroundings()
        self.circumstances = Circumstances()
        self.main = describe_main()
        self.channel, theirs = socketpair()
        try:
            job = capture("Spare")
            job.update(channel=theirs.fileno(), preload=modules, start_method="spawn")
            if self.main is not None:
                job["preload_main"] = self.main
            self.pid = start_program(job, "run_spare", [theirs.fileno()])
        except BaseException:
            self.channel.close()
            self.circumstances.close()
            raise
        finally:
            theirs.close()

    def fits(self) -> bool:
        """Return whether a child started now would be the same."""
        return (
            self.surroundings == _surroundings() and self.circumstances.are_the_same() and self.main == describe_main()
        )

    def give_up(self) -> None:
        """End it and wait for that: without a job it leaves by itself."""
        self.channel.close()
        self.circumstances.close()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:  # reaped by somebody else
            pass


def _surroundings() -> tuple[Any, ...]:
    return environ().copy(), command_line("")


class Spares:
    """The spare of a context: started after each start, used by the next."""

    def __init__(self, modules: list[str]) -> None:
        self.modules = modules
        self._waiting: SpareInterpreter | None = None
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._after_fork_in_child)

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        if self._waiting is not None:
            self._waiting.channel.close()  # it is the parent's
            self._waiting.circumstances.close()
            self._waiting = None

    def start(self, job: dict[str, Any], fds: list[int]) -> int:
        """Give a job to the spare, or to a new one; return the pid."""
        with self._lock:
            while True:
                waiting, self._waiting = self._waiting, None
                if waiting is not None and not waiting.fits():
                    waiting.give_up()
                    waiting = None
                fresh = waiting is None
                spare = waiting if waiting is not None else SpareInterpreter(self.modules)
                try:
                    protocol.send_job(spare.channel, job, fds)
                except ConnectionError:
                    spare.give_up()
                    if fresh:
                        raise OSError("a spare interpreter ended before it could get its job") from None
                    continue
                except BaseException:
                    spare.give_up()
                    raise
                spare.channel.close()
                spare.circumstances.close()
                return spare.pid

    def prepare(self) -> None:
        """Start the next spare; where that fails, the next start will try, and say why.

        None is kept for a tracer that has put its own program before ours: it would wait for the spare.
        """
        with self._lock:
            if self._waiting is None and not starter.is_replaced():
                try:
                    self._waiting = SpareInterpreter(self.modules)
                except OSError:
                    pass

    def stop(self) -> None:
        """End the spare that waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting.give_up()

    def launch(self, process_obj: BaseProcess[Any]) -> WaitingChild:
        """Start a process object."""
        child = SpareChild(process_obj, self)
        self.prepare()
        return child


class SpareChild(WaitingChild):
    """A child that was a spare."""

    method = "spawn"

    def __init__(self, process_obj: BaseProcess[Any], spares: Spares) -> None:
        self._spares = spares
        super().__init__(process_obj)

    def _send(self, job: dict[str, Any], daemon: bool) -> None:
        fds = [self._box.fd, *self._fds]
        if self._box.is_unwatched:
            job["is_unwatched"] = True
        ends = self._begin_end()
        if ends is not None:
            job["end"] = True
            fds[1:1] = [ends.passed(), lifeline.open()]
        if daemon:
            job["lifeline"] = True
            fds.insert(1, lifeline.open())
        self._started(self._spares.start(job, fds))
