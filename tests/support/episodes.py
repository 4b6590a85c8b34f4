"""Programs of random operations: workers choose, act and write down what they did, while they are stopped, interrupted
and killed; a model says afterwards whether it may have been so.

What an actor writes is in a file of its own before its next step, so that a kill loses nothing: `("name", ...)`, one
line each, the first its pid, the last `("end",)`. An actor without that line was killed, or it is a fault.
"""

import ast
import contextlib
import faulthandler
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import polyproc
from conftest import plain_fork
from polyproc._platform.handles import children_of

LIMIT = 40.0  # seconds for an episode: then every stack is shown
LATE = 10.0  # seconds by which a wait may be late on a busy machine


class Interrupted(Exception):
    """What a signal's handler raises."""


class InterruptedHard(BaseException):
    """Another that a handler raises: no Exception."""


@dataclass
class Outcome:
    """What came of an attempt: a value, an error, or an interruption; the last may have come when all was done."""

    done: bool
    value: object = None
    error: BaseException | None = None
    interrupted: bool = False

    @property
    def failed_with(self):
        """The name of the error's class, or None."""
        return None if self.error is None else type(self.error).__name__


class Actor:
    """One thread of an episode: chooses, acts, and writes down what it did."""

    def __init__(self, folder, name, seed, raising=None):
        self.folder, self.name, self.seed, self.raising = folder, name, seed, raising
        self.chance = random.Random(f"{seed}/{name}")
        self.log = os.open(f"{folder}/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self.armed = False
        self.is_main = raising is not None and threading.current_thread() is threading.main_thread()
        if self.is_main:
            signal.signal(signal.SIGALRM, self._interrupt)
        self.note("pid", os.getpid())

    def note(self, *what):
        """Write down a fact."""
        os.write(self.log, f"{what!r}\n".encode())

    def _interrupt(self, number, frame):
        if self.armed and self.raising:
            self.armed = False
            raise self.chance.choice((Interrupted, InterruptedHard))

    def attempt(self, call, *args, limit=None, raising=True):
        """Call something of ours, perhaps interrupted by a signal whose handler raises.

        All that is between the call and the note of its result is C: an interruption is either before the result or
        after it, and the outcome says which.
        """
        found, outcome = [], Outcome(False)
        started = time.monotonic()
        try:
            try:
                if self.is_main and self.chance.random() < 0.3:
                    signal.setitimer(signal.ITIMER_REAL, self.chance.choice((1e-6, 2e-5, 2e-4, 2e-3)))
                self.armed = raising
                found.extend(itertools.starmap(call, [args]))
            finally:
                self.armed = False
        except (Interrupted, InterruptedHard) as error:
            # Without the traceback, which would keep what was in the frames: a socket, say, on whose end its peer waits.
            outcome.interrupted, outcome.error = True, type(error)()
        except Exception as error:
            outcome.error = error
        finally:
            self.armed = False
        if found:
            outcome.done, outcome.value = True, found[0]
        if limit is not None:
            took = time.monotonic() - started
            assert took < limit + LATE, f"{call} took {took:.1f} s of {limit}"
        return outcome

    def pause(self):
        """Give others a turn, sometimes."""
        if self.chance.random() < 0.3:
            time.sleep(self.chance.choice((0, 1e-5, 1e-4, 1e-3)))

    def run(self, act, *args):
        """Act to the end, and say that it is the end."""
        try:
            act(self, *args)
            self.note("end")
        except BaseException:
            self.armed = False
            self.note("fault", traceback.format_exc())
        finally:
            self.armed = False
            self.close()

    def close(self):
        """Write no more."""
        os.close(self.log)

    def in_thread(self, act, *args):
        """Start another actor, in a thread; returns it."""
        name = f"{self.name}-t{self.chance.randrange(10**6)}"
        thread = threading.Thread(
            target=lambda: Actor(self.folder, name, self.seed).run(act, *args), name=name, daemon=True
        )
        thread.start()
        return thread

    def in_fork(self, act, *args):
        """Start another actor, in a plain fork of this process, and wait for its end."""
        name = f"{self.name}-f{self.chance.randrange(10**6)}"
        pid = plain_fork()
        if not pid:
            try:
                Actor(self.folder, name, self.seed, self.raising).run(act, *args)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)


def work(folder, name, seed, raising, act, *args):
    """Run in a worker: be an actor whose stacks can be asked for."""
    stacks = open(f"{folder}/{name}.stacks", "w")
    faulthandler.register(signal.SIGUSR2, stacks)
    Actor(folder, name, seed, raising).run(act, *args)


@dataclass
class Chaos:
    """What is done to the workers."""

    stops: bool = True
    kills: float = 0.0  # how likely it is that a worker is killed at a turn
    most_kills: int = 2
    raising: bool = False


def first_lines(stack, most=12):
    """Return the beginning of a stack, which is where it is."""
    return "\n".join(stack.split("\n")[:most])


def family_of(pid):
    """Return a process's children and theirs."""
    found = []
    for child in children_of(pid):
        found += [child, *family_of(child)]
    return found


class Episode:
    """Workers, what is done to them, and what they wrote.

    with Episode(method, seed, Chaos()) as episode:
        episode.start("p0", act, queue)
        episode.run()
    records = episode.records("p")
    """

    def __init__(self, method, seed, chaos=None, limit=LIMIT):
        self.ctx = polyproc.get_context(method)
        self.seed, self.chaos, self.limit = seed, chaos or Chaos(), limit
        self.chance = random.Random(f"{seed}/chaos")
        self.workers = {}
        self.killed = set()
        self._folder = None

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="polyproc-episode-")
        self.folder = self._folder.name
        return self

    def start(self, name, act, *args):
        """Start a worker."""
        args = (self.folder, name, self.seed, self.chaos.raising, act, *args)
        process = self.workers[name] = self.ctx.Process(target=work, args=args, name=name)
        process.start()
        return process

    def run(self, until=None, each_turn=None):
        """Stop and kill workers at random until all have ended, or `until()` is true; call `each_turn` in between."""
        deadline = time.monotonic() + self.limit
        while alive := [name for name, process in self.workers.items() if process.is_alive()]:
            if until is not None and until():
                return
            if time.monotonic() > deadline:
                self.fail(f"the end did not come within {self.limit} s; still there: {alive}")
            if each_turn is not None:
                each_turn()
            dice = self.chance.random()
            name = self.chance.choice(alive)
            if dice < self.chaos.kills and len(self.killed) < self.chaos.most_kills:
                self.kill(name)
            elif self.chaos.stops and dice < 0.5:
                self._stop(name)
            else:
                self.workers[name].join(self.chance.choice((0.0005, 0.002, 0.01)))
        self._await_orphans(deadline)

    def kill(self, name):
        """Kill a worker, and wait until it is gone."""
        process = self.workers[name]
        process.kill()
        process.join(LATE)
        self.killed.add(name)

    def _stop(self, name):
        pid = self.workers[name].pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.chance.choice((0.0002, 0.001, 0.004)))
            os.kill(pid, signal.SIGCONT)

    def _await_orphans(self, deadline):
        """Wait for forks of killed workers, which live on; the start of each is in its log."""
        while True:
            records = self.records("")
            # A process may have been killed before it wrote anything.
            left = [
                name
                for name, lines in records.items()
                if lines
                and lines[-1][0] not in ("end", "fault")
                and lines[0][1] != os.getpid()
                and self._lives(lines[0][1])
            ]
            if not left:
                return
            if time.monotonic() > deadline:
                self.fail(f"forks did not end: {left}")
            time.sleep(0.005)

    @staticmethod
    def _lives(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    def records(self, prefix):
        """Return what the actors with such names wrote: {name: [line, ...]}."""
        found = {}
        for path in sorted(Path(self.folder).glob(f"{prefix}*.log")):
            lines = path.read_text().split("\n")[:-1]
            found[path.stem] = [ast.literal_eval(line) for line in lines]
        return found

    def ended(self, name, lines):
        """Say whether an actor came to its end; else it was killed."""
        return bool(lines) and lines[-1][0] == "end"

    def fail(self, why):
        """Show every stack and what was written last, and fail."""
        told = [why, f"POLYPROC_SEED={self.seed}"]
        pids = family_of(os.getpid())
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)
        for path in Path(self.folder).glob("*.log"):
            with contextlib.suppress(Exception):
                pid = ast.literal_eval(path.read_text().split("\n")[0])[1]
                if pid != os.getpid() and self._lives(pid):
                    pids.append(pid)
                    os.kill(pid, signal.SIGUSR2)
        time.sleep(0.5)
        for name, lines in self.records("").items():
            if not self.ended(name, lines):
                told.append(f"-- {name}: {lines[-5:]}")
        for path in sorted(Path(self.folder).glob("*.stacks")):
            told.append(
                f"-- {path.name}:\n" + "\n\n".join(first_lines(stack) for stack in path.read_text().split("\n\n"))
            )
        if keep := os.environ.get("POLYPROC_KEEP_HUNG"):
            sys.stderr.write("\n".join(told) + f"\npids {pids}\n")
            time.sleep(float(keep))
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        raise AssertionError("\n".join(told))

    def check(self):
        """Fail on what workers report as a fault, and on one that ended by itself before its end."""
        for name, lines in self.records("").items():
            if lines and lines[-1][0] == "fault":
                self.fail(f"{name}: {lines[-1][1]}")
        for name, process in self.workers.items():
            ended = self.records(name).get(name, [])
            if name not in self.killed and not (ended and ended[-1][0] == "end"):
                self.fail(f"{name} ended by itself: {process.exitcode}")

    def __exit__(self, kind, error, tb):
        try:
            if kind is None:
                self.check()
        finally:
            for process in self.workers.values():
                process.kill()
                process.join(LATE)
                process.close()
            self._folder.cleanup()
