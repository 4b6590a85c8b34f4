"""Sends itself Ctrl-C at random moments while pools start, deliver, and end. Arguments: what, a start method, a seed, rounds.
It imports `support`: PYTHONPATH=tests.

A round is over when each handle has its outcome, and no thread, child or descriptor is left; else it says what is.
"""

import collections
import concurrent.futures
import contextlib
import faulthandler
import gc
import os
import random
import signal
import sys
import threading
import time
import warnings

import polyproc
from polyproc._forkserver.fork_server import forkserver, fresh_fork_server
from polyproc._platform.handles import children_of
from polyproc.pool import ThreadPool
from support.broken_off import is_in_finalizer

LIMIT = 20.0  # seconds that anything may take
ENDED = (polyproc.ProcessError, concurrent.futures.CancelledError, concurrent.futures.BrokenExecutor, KeyboardInterrupt)


def double(number):
    return 2 * number


class Interrupts:
    """A thread that sends this process SIGINT a few times, within some seconds; it hears signals itself, too."""

    def __init__(self, chance, within):
        self.moments = sorted(chance.random() * within for _ in range(chance.randrange(1, 4)))
        self.is_for_main_thread = chance.random() < 0.5
        self.is_over = False
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        begin = time.monotonic()
        for moment in self.moments:
            if self.over.wait(max(begin + moment - time.monotonic(), 0)):
                return
            if self.is_for_main_thread:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            else:
                os.kill(os.getpid(), signal.SIGINT)

    def hear(self, signum, frame):
        """Raise; not where it is read that it was raised, since the next could come before that is done.

        Nor in a finalizer: what is raised there comes through to nobody (docs/adr/0056).
        """
        if self.is_over or frame.f_code in (play.__code__, Interrupts.end.__code__) or is_in_finalizer(frame):
            return
        raise KeyboardInterrupt

    def end(self):
        self.is_over = True
        self.over.set()
        self.thread.join()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what is on its way comes before this has returned


class Round:
    """A pool, what is done to it, and the handles that it gave."""

    def __init__(self, kind, method, chance):
        self.kind, self.chance = kind, chance
        self.context = polyproc.get_context(method)
        self.pool = None
        self.handles = []

    def make(self):
        size = self.chance.randrange(1, 4)
        if self.kind == "pool":
            self.pool = self.context.Pool(size)
        elif self.kind == "threads":
            self.pool = ThreadPool(size)
        else:
            self.pool = polyproc.ProcessPoolExecutor(size, self.context)

    def act(self):
        chance = self.chance
        self.make()
        with self.pool if chance.random() < 0.5 else contextlib.nullcontext():
            for _ in range(chance.randrange(1, 8)):
                chance.choice([self.one, self.one, self.some, self.map, self.read])()
            if chance.random() < 0.5:
                self.end()

    def one(self):
        if self.kind == "executor":
            self.handles.append(self.pool.submit(double, 2).result)
        else:
            self.handles.append(self.pool.apply_async(double, (2,)).get)

    def some(self):
        for _ in range(self.chance.randrange(40)):
            self.one()

    def map(self):
        items = range(self.chance.randrange(1, 300))
        assert list(self.pool.map(double, items)) == [2 * number for number in items]

    def read(self):
        for handle in self.handles:
            assert handle(LIMIT) == 4

    def end(self):
        if self.kind == "executor":
            self.pool.shutdown(wait=self.chance.random() < 0.7)
        else:
            (self.pool.close if self.chance.random() < 0.5 else self.pool.terminate)()
            self.pool.join()

    def finish(self):
        """End all, without interrupts; each handle has its outcome."""
        pool, self.pool = self.pool, None
        if pool is None:
            return
        if self.kind == "executor":
            pool.shutdown()
        else:
            if self.chance.random() < 0.5:
                pool.close()
                pool.join()
            pool.terminate()
            pool.join()
        for handle in self.handles:
            try:
                assert handle(LIMIT) == 4
            except ENDED:
                pass


def descriptors():
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return [name for name in found if "polyproc-chunk" not in name]  # the core keeps what it fills


def left(known_descriptors, known_children):
    """Return what is left, without what waits for the next pool."""
    forkserver._stop()
    fresh_fork_server._stop()
    polyproc.active_children()
    gc.collect()
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("polyproc")]
    children = set(children_of(os.getpid())) - known_children
    found = descriptors()
    more = collections.Counter(found) - collections.Counter(known_descriptors)
    return threads, children, list(more) if len(found) > len(known_descriptors) else []


def play(kind, method, chance, within):
    """Play a round; return whether a Ctrl-C came through."""
    known = descriptors(), set(children_of(os.getpid()))
    signal.signal(signal.SIGINT, (interrupts := Interrupts(chance, within)).hear)
    this, was_hit = Round(kind, method, chance), False
    try:
        interrupts.thread.start()
        this.act()
    except KeyboardInterrupt:
        was_hit = True
    interrupts.end()
    faulthandler.dump_traceback_later(2 * LIMIT, exit=True)
    this.finish()
    del this
    deadline = time.monotonic() + LIMIT
    while any(found := left(*known)):
        assert time.monotonic() < deadline, found
        time.sleep(0.005)
    faulthandler.cancel_dump_traceback_later()
    return was_hit


def main():
    kind, method, seed, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("ignore")  # of pools that were dropped
    sys.unraisablehook = lambda dropped: None
    chance = random.Random(seed)
    for _ in range(2):  # what stays for the next pool is there from the first on; the second is timed
        begin = time.monotonic()
        first = Round(kind, method, chance)
        first.make()
        first.one()
        first.finish()
    # Not longer than what holds one back does so: a later one is heard in the midst of it (HeldBack).
    within = min(time.monotonic() - begin + 0.005, 0.2)
    left([], set())
    hits = 0
    for number in range(rounds):
        print("round", number, flush=True)
        hits += play(kind, method, random.Random(seed * 100_000 + number), within)
    print(hits, "came through", flush=True)


if __name__ == "__main__":
    main()
