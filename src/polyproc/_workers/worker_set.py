"""The processes of a pool: made, started, told to end, killed, and seen to end; and which channels they have.

The channels between a pool and its workers go over the C core's queues where it is there, else over pipes:

    pool                                                   worker
    WorkerChannel.send(place, packed)  -- tasks, one queue each -->   end.get()
    Channels.take()                <-- results, one queue each --     end.put(result)

A worker that dies leaves nothing locked or half written for the others, and what it had not taken can be taken back.
One that is stopped, wherever that meets it, holds up nobody else: no lock is shared by two workers (docs/adr/0049).
"""

from __future__ import annotations

import _signal as signal  # `signal` makes enumerations of it
import collections
import threading
from time import monotonic

from polyproc._base.errors import ProcessDied, ProcessError
from polyproc._base.native import native
from polyproc._base.process_state import exit_sequence, log
from polyproc._base.typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, NamedTuple, Sequence
from polyproc._pickling.pickler import InheritedValue
from polyproc._platform.circumstances import environment_of_worker, share_of, usable_processors
from polyproc._platform.handles import HeldBack, WakePipe, pause, ready, start_thread, tree_of
from polyproc._platform.posix import HAVE_FORK, PROC
from polyproc._process.process import BaseProcess, launched_by, method_of
from polyproc._scheduling.assignments import NEVER
from polyproc._workers.interrupter import SIGNAL, CancelWord
from polyproc._workers.worker import Closed, WorkerPlan, worker

if TYPE_CHECKING:
    from polyproc._forkserver.fork_server import ForkServer
    from polyproc._scheduling.assignments import QueuedTask
if TYPE_CHECKING or HAVE_FORK:
    from polyproc._forkserver.client import Parking, PoolForkServer, may_park
if TYPE_CHECKING or native:
    from polyproc._workers.core_channels import MAX_BEHIND, Channels, WorkerChannel, call_alone
    from polyproc._workers.core_channels import pack as pack
else:
    call_alone = None
    from polyproc._workers.pipe_channels import MAX_BEHIND, Channels, WorkerChannel
    from polyproc._workers.pipe_channels import pack as pack

MOMENT = 0.05  # seconds that who must not be held may be away, about
_MAX_WAIT = 10.0  # seconds until the monitor looks again
_UNWATCHED = 0.02  # seconds until there is a monitor: a death in a pool's first moment is noted a moment later
_TO_START = 0.001  # seconds that a thread takes to take another's place, about
_JOIN_TICK = 0.1  # seconds until it is looked whether another thread has taken the place of the engine's
_HELD = 1.0  # seconds that a worker which is stopped may keep what is behind its next task
_HELD_AT_MOST = 10.0  # the same for one of which the system does not say so: it is frozen, or starved
_MAX_PARTS = 2  # workers that may end with a part of a task's message: who dies of its size does so each time
_TO_OPEN = 1.0  # seconds that the error of a worker that could not start may take to be opened


class PoolConfig(NamedTuple):
    """What a pool of processes is to be.

    Attributes:
        process: the class of the workers.
        size: how many workers there are, at most.
        initializer: what each worker calls first; a generator function's first part.
        initargs: its arguments.
        max_tasks: after how many tasks a worker is replaced; None for never.
        max_memory: above how many resident bytes a worker is replaced after its task; None for never.
        idle_timeout: after how many seconds without work a worker ends; None for never.
        on_demand: whether workers are started when there is work for them, and not before.
        is_executors: whether it is an executor's, which tells some errors differently.
        forks: whether workers are started by our fork: a subclass may have a launcher of its own.
    """

    process: type[BaseProcess[Any]]
    size: int
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    max_tasks: int | None = None
    max_memory: int | None = None
    idle_timeout: float | None = None
    on_demand: bool = False
    is_executors: bool = False
    forks: bool = False


class WorkerHandle:
    """A worker, as its engine sees it: known from when it is wanted, started some time later.

    Attributes:
        id: its number in the pool.
        process: the process object.
        channel: its tasks.
        word: names the call in which to raise.
        is_started: whether there is a process.
        is_noted: whether the monitor has seen its end.
        is_dismissed: whether it is to end when it has done what it has.
        doom: whether it is to be killed: None for no, else whether gently.
        is_ready: whether it has said that it can work.
        held_since: since when it has been about to take a task, and not gone on: then it keeps the others from being
            taken back; None for not.
        lent: which time it is that the thread which has called it hears its answer; 0 for none does (docs/adr/0055).
        is_signalled: whether a call of it was to be interrupted: it may work before its start has returned.
        error: why it could not, if it has said so.
    """

    process: Any
    channel: WorkerChannel
    word: CancelWord

    def __init__(self, id: int) -> None:
        self.id = id
        self.is_started = self.is_noted = self.is_dismissed = self.is_ready = self.is_signalled = False
        self.lent = 0
        self.doom: bool | None = None
        self.held_since: float | None = None
        self.error: Closed | None = None

    def is_running(self) -> bool:
        """Return whether there is a process, also if nobody has been told of it yet."""
        process = getattr(self, "process", None)
        return process is not None and process._popen is not None

    def interrupt(self, place: int, why: int) -> None:
        """Raise in a call, if it is the one that runs."""
        self.word.set(place, why)
        self.is_signalled = True
        child = self.process._popen
        if child is not None:  # else the thread that starts it does, which does not have the handle yet
            child.signal(SIGNAL)

    def dismiss(self) -> None:
        """Tell it to end when it has done what it has."""
        self.is_dismissed = True
        if self.is_started:
            self.channel.finish()

    def kill(self, gently: bool) -> None:
        """Send SIGTERM; or kill it and what it has started."""
        self.doom = gently
        if self.is_started and gently:
            self.process.terminate()
        elif self.is_started:
            with HeldBack(), tree_of(self.process._popen) as tree:
                tree.kill()
            self.process.kill()

    def call_in(self, note: Callable[[int], object]) -> bool:
        """Under the engine's lock: if it is lent, have it be heard with the others again; return whether it was."""
        lent, self.lent = self.lent, 0
        if lent and self.channel.results._call_in(True):
            note(0)
        return lent > 0

    def take_back(self, most: int, now: float) -> tuple[list[int], bool]:
        """Take up to `most` tasks back that it has not begun; return their places, and whether there are more.

        It is killed when it has been about to take one for long: it is stopped, and what is behind that cannot be had.
        """
        found = self.channel.take_back(most) if self.is_started else None
        if found is None:
            return [], False
        if self.is_dismissed:
            self.dismiss()  # that it should end may be among what was taken back
        if not found[1] or len(found[0]) == most:
            self.held_since = None
        elif self.held_since is None:
            self.held_since = now
        elif self.doom is None and now - self.held_since > (_HELD if _is_stopped(self.process.pid) else _HELD_AT_MOST):
            self.kill(False)
        return found

    def not_begun(self, tasks: Iterable[tuple[int, QueuedTask]]) -> list[int]:
        """After its end: return the places of those of its tasks that it had not begun."""
        places, part = self.channel.left_over()
        for place, task in tasks if part else ():
            if place == part:
                task.parts += 1
                if task.parts <= _MAX_PARTS:
                    places.append(place)
        return places

    def reap(self) -> BaseException:
        """Wait for its end; return how it ended, or why it could not start."""
        self.process.join()
        if self.is_ready:
            died: ProcessDied = self.process._popen.died()
            return died
        closed = Closed(self.process.exception) if self.error is None else self.error
        error = _opened_in_time(closed)
        return error if isinstance(error, BaseException) else ProcessError("the workers end as they start")


def _is_stopped(pid: int) -> bool:
    """Return whether the system says that a process is stopped, by a signal or by who traces it."""
    try:
        with open(f"{PROC}/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def _opened_in_time(closed: Closed) -> Any:
    """Return why a worker could not start; None if that takes too long to open, which is the user's code."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(closed.opened()[1]), name="polyproc-pool-opens", daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError):  # there can be no more
        return None
    thread.join(_TO_OPEN)
    return found[0] if found else None


class WorkerSet:
    """The workers of a pool, by id. Only one thread at a time starts some.

    Attributes:
        server: the fork server that makes them, of those that this process has for all its pools.
    """

    max_behind = MAX_BEHIND
    call_alone = None if call_alone is None else staticmethod(call_alone)
    pack = staticmethod(pack)

    def __init__(self, config: PoolConfig) -> None:
        self.channels = Channels()
        self.handles: dict[int, WorkerHandle] = {}
        self._config = config
        self._kept = InheritedValue(
            WorkerPlan(config.initializer, config.initargs, config.max_memory, config.is_executors)
        )
        self.server, self._process = server_of(config.process)
        self._later: PoolForkServer | None = None  # by which those that come later are started: from now on
        self._fork_server: PoolForkServer | None = None
        self._has_begun = self._wants_no_more = False

    def start(
        self,
        handles: Sequence[WorkerHandle],
        size: int,
        started: Callable[[WorkerHandle], object],
        failed: Callable[[WorkerHandle, BaseException], object],
        meanwhile: Callable[[], object],
    ) -> None:
        """Start workers; the first time, before there are threads, fork the fork server for those to come.

        Args:
            handles: the workers.
            size: how many workers the pool has.
            started: called with each that was started.
            failed: called with each that was not, and the error.
            meanwhile: called, if others make the workers, while they do: it may start threads.
        """
        threads = share_of(usable_processors(), size)
        begins, self._has_begun = not self._has_begun, True
        with environment_of_worker(threads):
            # What is written after a fork is copied first, page by page: as much as can be is made before.
            if begins and self.server is not None:
                self._expect(self.server, len(handles))
            if native:
                handles = [handle for handle in handles if self._try(self._make, handle, threads, failed)]
            try:
                if begins and self._config.forks and native:
                    self._make_fork_server(handles)
                    if self._fork_server is not None and self._fork_server.makes_first:
                        meanwhile()
                        self._fork_server.find_first()
            finally:  # also after a Ctrl-C
                self._start_all(handles, None if begins else self._fork_server, threads, started, failed)
                if begins and self._fork_server is not None:
                    self._fork_server.forget_first()

    @staticmethod
    def _expect(server: ForkServer, workers: int) -> None:
        try:
            server.expect(workers)
        except Exception as error:  # noqa: BLE001  (each start tells it, if it is still so)
            log.info("no workers could be ordered: %s", error)

    def _start_all(
        self,
        handles: Sequence[WorkerHandle],
        fork_server: PoolForkServer | None,
        threads: int | None,
        started: Callable[[WorkerHandle], object],
        failed: Callable[[WorkerHandle, BaseException], object],
    ) -> None:
        for number, handle in enumerate(handles):
            if fork_server is not None:
                fork_server.order(len(handles) - number)
            if (native or self._try(self._make, handle, threads, failed)) and self._try(
                self._start_one, handle, threads, failed
            ):
                started(handle)

    @staticmethod
    def _try(
        act: Callable[[WorkerHandle, int | None], object],
        handle: WorkerHandle,
        threads: int | None,
        failed: Callable[[WorkerHandle, BaseException], object],
    ) -> bool:
        try:
            act(handle, threads)
        except BaseException as error:
            failed(handle, error)
            if not isinstance(error, Exception):
                raise
            return False
        return True

    def _make(self, handle: WorkerHandle, threads: int | None) -> None:
        handle.channel = self.channels.open(handle.id)
        handle.word = CancelWord()
        args = (handle.channel.end, handle.word.block, threads, self._kept)
        if self._later is not None:
            self._process, self._later = launched_by(self._later, self._process), None
        process = self._process(target=worker, args=args)
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        handle.process = process

    def _start_one(self, handle: WorkerHandle, threads: int | None) -> None:
        try:
            if handle.doom is not None or handle.is_dismissed:
                raise ProcessError("the worker is not needed any more")
            handle.process.start()
            if handle.is_signalled:
                handle.process._popen.signal(SIGNAL)
        finally:
            if getattr(handle.process._popen, "is_parked", False):
                handle.is_ready = handle.channel.is_parked = True
            handle.channel.release()

    def _make_fork_server(self, handles: Sequence[WorkerHandle]) -> None:
        """Fork it, and have it make the first workers where it can."""
        first = [handle for handle in handles if handle.doom is None]
        try:
            self._fork_server = PoolForkServer(self._kept)
            self._fork_server.fork([handle.process for handle in first], self._parking(first))
        except Exception as error:  # noqa: BLE001  (no room, or a warning that is raised: no reason not to work)
            self._fork_server = None
            log.info("no fork server for later workers: %s", error)
        else:
            self._later = self._fork_server

    def _parking(self, handles: Sequence[WorkerHandle]) -> Parking | None:
        """Return how first workers wait, if they may run nothing before their first task: nobody would notice."""
        ignored = signal.SIGINT, SIGNAL
        if self._config.initializer is None and may_park([handle.process for handle in handles], ignored):
            return Parking([handle.channel.end.tasks for handle in handles], ignored)
        return None

    def remove(self, id: int) -> None:
        """Forget a worker that has ended, or could not be started."""
        handle = self.handles.pop(id, None)
        self.channels.drop(id)
        channel = getattr(handle, "channel", None)
        if channel is not None:
            channel.close()

    def want_no_more(self, starting: Any) -> None:
        """End the fork server while the workers end, unless some are being started: then `starting` is held."""
        if self._fork_server is not None and not self._wants_no_more and starting.acquire(blocking=False):
            self._wants_no_more = True
            self._fork_server.kill()
            starting.release()

    def close(self) -> None:
        """Give up the fork server and the channels; if another pool comes, it mostly comes soon."""
        if self._fork_server is not None:
            self._fork_server.end()
        for id in list(self.handles):
            self.remove(id)
        self.channels.close()
        if self.server is not None and not exit_sequence.started:
            self.server.keep(self._config.size)


def server_of(process: type[BaseProcess[Any]]) -> tuple[ForkServer | None, type[Any]]:
    """Return what makes the processes of a class, if it is for many of them, and the class to take."""
    if not HAVE_FORK:
        return None, process
    method = method_of(process)
    if method in ("forkserver", "spawn"):
        from polyproc._start.early_interpreter import early

        early.begin_for_pool(method)
        from polyproc._forkserver.fork_server import forkserver, fresh_fork_server

        if method == "forkserver":
            return forkserver, process
        if fresh_fork_server.can_be():
            return fresh_fork_server, launched_by(fresh_fork_server, process)
    return None, process


def workers_of(config: PoolConfig) -> WorkerSet:
    """Return the workers of a pool, as what starts its processes has them: those of another host are others."""
    launcher: Any = getattr(config.process, "_launcher", None)
    workers: WorkerSet = launcher.worker_set(config) if hasattr(launcher, "worker_set") else WorkerSet(config)
    return workers


class Away:
    """Whether a thread that others wait for runs code of the user's, and whether another has taken its place.

    Args:
        watch: called when it goes away and nobody looks: `look` is to be called, now and then.
        replace: puts another thread in its place; returns whether that could be done.
    """

    def __init__(self, watch: Callable[[], object], replace: Callable[[], bool]) -> None:
        self._watch = watch
        self._replace = replace
        self._token: collections.deque[None] = collections.deque()  # there while it is away; its taker leads
        self._times = self._seen = 0
        self._is_watched = False

    def leave(self) -> None:
        """Note that the thread runs the user's code from now on."""
        self._times += 1
        self._token.append(None)
        if not self._is_watched:
            self._is_watched = True
            self._watch()

    def back(self) -> bool:
        """Note that the thread is back; return whether its place is still free."""
        try:
            self._token.pop()
        except IndexError:
            return False
        return True

    def look(self) -> float | None:
        """Replace a thread that is away since the last look; return the seconds until the next one, None for never."""
        times, was_seen = self._times, self._times == self._seen
        self._seen = times
        if was_seen and not self._token:
            self._is_watched = False
            if self._times == times and not self._token:
                return None
            self._is_watched = True
        elif was_seen and self.back() and not self._replace():  # else it has just come back
            self._token.append(None)
        return MOMENT


class Leader:
    """An engine's thread. One that the user's code holds up is replaced.

    Args:
        serve: what it does, as long as it is its turn.
        watch: called when `away` is to be looked at.

    Attributes:
        thread: the one that was started last.
        turn: the one whose turn it is; for a moment it is not started yet.
    """

    def __init__(self, serve: Callable[[], object], watch: Callable[[], object]) -> None:
        self._make: Callable[[], threading.Thread]
        self._make = lambda: threading.Thread(target=serve, name="polyproc-pool", daemon=True)
        self.away = Away(watch, self._replace)
        self.turn = self.thread = self._make()

    def _replace(self) -> bool:
        self.turn = thread = self._make()  # from now on the one before may end
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # there can be no more
            self.turn = self.thread
            return False
        self.thread = thread
        return True

    def look(self, is_opening: bool) -> float | None:
        """See to it, and to other threads if values are being opened; return in how many seconds again."""
        again = self.away.look()
        return MOMENT if is_opening else again

    def join(self) -> None:
        """Wait for the end of the last one, unless this is it."""
        while (thread := self.thread) is not threading.current_thread():
            if thread.is_alive():
                thread.join(_JOIN_TICK)
            elif self.turn is thread:  # else another is about to take its place
                return
            else:
                pause(_TO_START)


class Monitor:
    """Calls `note` with the id of each worker that has ended, once.

    Args:
        handles: the workers, by id; a new one is seen after `wake`.
        note: called from the monitor's thread.
        failed: called with the error if the thread cannot go on.
        look: called after waits, but not twice in a moment: then after as many seconds as it has returned.
    """

    def __init__(
        self,
        handles: Mapping[int, WorkerHandle],
        note: Callable[[int], object],
        failed: Callable[[BaseException], object],
        look: Callable[[], float | None],
    ) -> None:
        self._look = look
        self._handles = handles
        self._note = note
        self._failed = failed
        self._looked_at = 0.0
        self._pipe = WakePipe()
        self._thread = threading.Thread(target=self._run, name="polyproc-pool-watch", daemon=True)
        self._starting = threading.Lock()
        self.due = NEVER  # when there is to be a thread; NEVER also if there is one

    def start(self) -> None:
        """Begin to watch in a moment, if the engine's thread calls `relieve` until then: few pools end before."""
        self.due = monotonic() + _UNWATCHED

    def relieve(self, timeout: float, wants_no_more: bool) -> float:
        """Return for how long the engine's thread may wait while this is due; wait for ends, if for nothing else."""
        left = self.due - monotonic()
        if left <= 0:
            return timeout if self._begin() else min(timeout, MOMENT)
        if not wants_no_more:
            return min(timeout, left)
        watched = self._watched()
        for found in ready([*watched], min(timeout, left)):
            watched[found].is_noted = True
            self._note(watched[found].id)
        return 0.0

    def watch(self) -> None:
        """Look at the workers and at the engine's thread from now on."""
        if self.due != NEVER:
            self._begin()
        self.wake()

    def _begin(self) -> bool:
        """Start the thread, return False if there can be no more: then the engine's looks at the workers."""
        with self._starting:
            try:
                if self.due != NEVER:
                    start_thread(self._thread)
                    self.due = NEVER
            except (RuntimeError, MemoryError):
                self.due = monotonic() + MOMENT
            return self.due == NEVER

    def check(self) -> None:
        """Note the ends that its thread has not told, since it cannot."""
        for handle in list(self._handles.values()):
            if handle.is_started and not handle.is_noted and not handle.process.is_alive():
                handle.is_noted = True
                self._note(handle.id)

    def wake(self) -> None:
        """Look at the workers again."""
        self._pipe.wake()

    def close(self) -> None:
        """End the thread."""
        with self._starting:
            self.due = NEVER
        self._pipe.end()
        if self._thread.ident is not None:
            self._thread.join()
        self._pipe.close()

    def _run(self) -> None:
        try:
            while self._watch():
                pass
        except BaseException as error:  # noqa: BLE001  (no descriptor or memory left: the engine has to know)
            self._failed(error)

    def _watched(self) -> dict[int, WorkerHandle]:
        return {
            handle.process.sentinel: handle
            for handle in list(self._handles.values())
            if handle.is_started and not handle.is_noted
        }

    def _watch(self) -> bool:
        watched = self._watched()
        left = self._looked_at + MOMENT - monotonic()
        if left <= 0:  # else who was seen to be away may have gone a microsecond ago
            self._looked_at = monotonic()
            left = self._look() or _MAX_WAIT
        for found in ready([self._pipe.fd, *watched], left):
            if found != self._pipe.fd:
                watched[found].is_noted = True
                self._note(watched[found].id)
            elif not self._pipe.drain():
                return False
        return True
