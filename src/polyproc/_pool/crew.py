"""The workers of a pool: one thread watches their channels and sentinels, hands out tasks and settles results.

No lock is shared between workers: each has a channel of its own, so that one that dies leaves nothing locked or half
written for the others. The thread holds no reference to the pool that its users hold.
"""

from __future__ import annotations

import collections
import io
import itertools
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from polyproc._connection.connection import Connection
from polyproc._connection.pipe import Pipe
from polyproc._connection.wait import wait
from polyproc._errors import ProcessError
from polyproc._platform.posix import close_quietly
from polyproc._pool.ledger import Ledger, Task
from polyproc._pool.results import Job
from polyproc._pool.worker import FAILED_START, READY, worker

# A pool whose workers end this often in a row before they are ready is broken: more would end the same way.
FAILED_STARTS = 3
GRACE = 1.0

RUN, CLOSE, TERMINATE = "RUN", "CLOSE", "TERMINATE"


class Crew:
    """Workers, ledger and jobs; shared by a pool and its thread under one lock."""

    def __init__(self, ctx: Any, size: int, initial: tuple[Any, ...], maxtasks: int | None) -> None:
        self.ctx = ctx
        self.size = size
        self.initial = initial
        self.ledger = Ledger(maxtasks)
        self.jobs: dict[int, Job] = {}
        self.state = RUN
        self.error: BaseException | None = None
        self.processes: list[Any] = []
        self.channels: dict[Any, Connection[Any, Any]] = {}
        self.leaving: set[Any] = set()
        self.lock = threading.RLock()
        self._failed_starts = 0
        self._numbers = itertools.count(1)
        self._finished: collections.deque[tuple[Job, int, bool, Any]] = collections.deque()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self.thread = threading.Thread(target=self._serve, name="polyproc-pool", daemon=True)

    # -- called by the pool ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the workers, then the thread."""
        try:
            while len(self.processes) < self.size:
                self.add_worker()
        except BaseException:
            self.state = TERMINATE
            self.end_workers()
            raise
        self.thread.start()

    def add_job(self, job: Job) -> int:
        """Register a job; return its number."""
        with self.lock:
            if self.state != RUN:
                raise ValueError("Pool not running")
            number = next(self._numbers)
            self.jobs[number] = job
            return number

    def add_task(self, number: int, index: int, call: tuple[Any, ...], dumps: Callable[[Any], bytes]) -> None:
        """Add a task of a job; a call that cannot be pickled fails that task."""
        try:
            payload = dumps(call)
        except Exception as error:  # noqa: BLE001  (told where the result is waited for, as in the standard library)
            with self.lock:
                self._settle(number, index, False, error)
                self._run_callbacks()
            return
        name = getattr(call[0], "__qualname__", "")
        with self.lock:
            if self.error is not None:
                self._settle(number, index, False, self.error)
                self._run_callbacks()
                return
            self.ledger.open(Task((number, index), payload, name))
        self.wake()

    def wake(self) -> None:
        """Have the thread look at everything again."""
        with self.lock:
            if self._wake_write >= 0:
                try:
                    os.write(self._wake_write, b".")
                except BlockingIOError:
                    pass  # it will wake anyhow

    def add_worker(self) -> None:
        """Start one more worker."""
        ours, theirs = Pipe(duplex=True)
        process = self.ctx.Process(target=worker, args=(theirs, *self.initial))
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.processes.append(process)
        self.channels[process] = ours  # tasks come when it says that it is ready

    # -- the thread ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # noqa: BLE001  (the last resort: nobody waits for ever, and it is told loudly)
            sys.stderr.write("a pool's thread ended by an error:\n" + traceback.format_exc())
            with self.lock:
                self._break(error)
        finally:
            self.end_workers()
            with self.lock:
                self._break(ProcessError("the pool was terminated"))
            self._run_callbacks()
            with self.lock:
                close_quietly(self._wake_read, self._wake_write)
                self._wake_read = self._wake_write = -1

    def _turn(self) -> bool:
        with self.lock:
            self._hand_out()
            if self.state == TERMINATE or (self.state == CLOSE and not self.jobs):
                return False
            by_handle: dict[Any, Any] = {self._wake_read: None}
            for process in self.processes:
                by_handle[process.sentinel] = process
            by_channel = {channel: process for process, channel in self.channels.items()}
        for found in wait([*by_handle, *by_channel]):
            if found in by_channel:
                self._read(by_channel[found])
            elif found == self._wake_read:
                os.read(found, 65536)
            else:
                self._reap(by_handle[found])
        self._run_callbacks()
        return True

    def _hand_out(self) -> None:
        for process in list(self.processes):
            while process in self.channels and process not in self.leaving:
                task = self.ledger.next_for(process)
                if task is None:
                    break
                job, index = task.id
                envelope = job.to_bytes(8, "little") + index.to_bytes(8, "little")
                try:
                    self.channels[process].send_bytes(envelope + task.payload)
                except OSError:
                    break  # it is dead: its sentinel says so next

    def _read(self, process: Any) -> bool:
        """Read one message of a worker; return False at the end of its channel."""
        channel = self.channels.get(process)
        if channel is None:
            return False
        try:
            stream = io.BytesIO(channel.recv_bytes())
        except (EOFError, OSError):
            channel.close()
            self.channels.pop(process, None)
            return False
        kind, job, index, success = pickle.load(stream)
        if kind == READY:
            self._failed_starts = 0
            with self.lock:
                self.ledger.join(process)
            return True
        try:
            value = pickle.load(stream)
        except BaseException as error:  # noqa: BLE001  (a result that cannot be opened is that task's error alone)
            success, value = False, error
        with self.lock:
            if kind == FAILED_START:
                self._start_failed(value)
            else:
                if self.ledger.settle(process, (job, index)):
                    self._dismiss(process)
                self._settle(job, index, success, value)
        return True

    def _dismiss(self, process: Any) -> None:
        self.leaving.add(process)
        try:
            self.channels[process].send_bytes(b"")
        except OSError:
            pass

    def _reap(self, process: Any) -> None:
        """Deal with the end of a worker: read what it has sent, fail what it ran, replace it."""
        while process in self.channels and self.channels[process].poll() and self._read(process):
            pass
        process.join()
        with self.lock:
            channel = self.channels.pop(process, None)
            if channel is not None:
                channel.close()
            if process in self.processes:
                self.processes.remove(process)
            was_leaving = process in self.leaving
            self.leaving.discard(process)
            running = self.ledger.lost(process)
            if running is not None:
                died = process._popen.died()
                died.task = running.name or None
                died.args = (died._sentence(),)
                self._settle(*running.id, False, died)
            elif not was_leaving and self.state == RUN:
                self._start_failed(process.exception())
            if self.state != TERMINATE and self.error is None:
                self._replace()

    def _start_failed(self, error: Any) -> None:
        self._failed_starts += 1
        if self._failed_starts >= max(FAILED_STARTS, self.size) and isinstance(error, BaseException):
            self._break(error)

    def _replace(self) -> None:
        while len(self.processes) < self.size:
            try:
                self.add_worker()
            except OSError as error:
                if not self.processes:
                    self._break(error)
                return

    def _settle(self, number: int, index: int, success: bool, value: Any) -> None:
        job = self.jobs.get(number)
        if job is not None:
            self._finished.append((job, index, success, value))

    def _run_callbacks(self) -> None:
        """Give results to those who wait; outside of the lock, since callbacks are the user's."""
        while self._finished:
            try:
                job, index, success, value = self._finished.popleft()
            except IndexError:
                return
            if job.settle(index, success, value):
                self.forget(job)

    def forget(self, job: Job) -> None:
        """Remove a job that is settled."""
        with self.lock:
            for number in [n for n, known in self.jobs.items() if known is job]:
                del self.jobs[number]
        self.wake()

    def _break(self, error: BaseException) -> None:
        """Fail everything that is owed, and all that will be asked for."""
        if self.error is None:
            self.error = error
        for number, index in self.ledger.drop_all():
            self._settle(number, index, False, self.error)

    def end_workers(self) -> None:
        """End all workers: ask those that are idle, then SIGTERM, then SIGKILL."""
        with self.lock:
            processes, channels = list(self.processes), dict(self.channels)
            self.processes.clear()
            self.channels.clear()
        for process in processes:
            if self.state == TERMINATE:
                process.terminate()
            elif process in channels:
                try:
                    channels[process].send_bytes(b"")
                except OSError:
                    pass
        for process in processes:
            process.join(GRACE if self.state == TERMINATE else None)
            if process.is_alive():
                process.kill()
                process.join()
        for channel in channels.values():
            channel.close()
