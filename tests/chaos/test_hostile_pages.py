"""Another process writes over all that is shared while it is used: sizes, kinds, numbers, tags, pointers and headers, here for a
moment, there for longer. Whoever uses it gets an answer, an exception or nothing in time; nobody crashes, or goes round for ever."""

import contextlib
import faulthandler
import gc
import mmap
import os
import pickle
import random
import resource
import signal
import time
import warnings

import pytest

import polyproc
from conftest import plain_fork
from polyproc._base import native as _native

pytestmark = pytest.mark.skipif(not _native.native, reason="needs the C core")

ctx = polyproc.get_context("fork")
STUCK = 30  # seconds for what takes one
CELL = 64
NASTY = (
    0,
    1,
    2,
    3,
    7,
    9,
    31,
    32,
    33,
    127,
    128,
    144,
    0x1000,
    0x10001,
    0x7FFFFFFF,
    0x80000000,
    0x80000001,
    0xC0000000,
    0xFFFFFFFF,
)


def mapped(fd, start, size):
    """Map a part of a file, as words."""
    whole = start // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    page = mmap.mmap(fd, start - whole + size, offset=whole)
    return memoryview(page)[start - whole :].cast("I")


class Target:
    """Objects of all kinds, and the words of their memory."""

    def __init__(self):
        import polyproc._core as core

        self.lock, self.rlock = ctx.Lock(), ctx.RLock()
        self.few, self.bounded, self.many = ctx.Semaphore(2), ctx.BoundedSemaphore(32), ctx.Semaphore(1000)
        self.event, self.barrier = ctx.Event(), ctx.Barrier(2)
        self.condition = ctx.Condition(
            ctx.Lock()
        )  # whose lock nobody writes over: a wait takes it again, without a limit
        self.array, self.scalar = core.Array("q", 30, None), core.Scalar("i", 1, None)
        self.last = ctx.Semaphore(0)  # in the last cell of its chunk: nothing is mapped behind
        while self.last._where()[1] + CELL < 65536:
            self.last = ctx.Semaphore(0)
        self.cells = [
            self.lock, self.rlock, self.few, self.bounded, self.many, self.last, self.event, self.barrier, self.condition, self.array,
            self.scalar,
        ]  # fmt: skip
        self.queues = [ctx.Queue(), ctx.Queue(2), ctx.JoinableQueue(), ctx.SimpleQueue()]
        self.ends = ctx.Pipe()
        sizes = {self.bounded: 2 * CELL, self.ends[0]: 9 * CELL}
        self.regions = []
        for handle in (*self.cells, self.ends[0]):
            id, offset = handle._where()
            fd, registry_fd = core.hold(id)
            core.detach(id)
            self.regions.append(mapped(fd, offset, sizes.get(handle, CELL)))
        self.files = (os.dup(fd), os.dup(registry_fd))
        self.regions.append(mapped(fd, 0, CELL))
        self.registry = mapped(registry_fd, 0, 128 + 128 * 4096)
        self.regions.append(self.registry[:32])
        for queue in self.queues:
            id, offset = queue._where()
            fd, _ = core.hold(id)
            core.detach(id)
            extent = mapped(fd, 0, CELL).cast("B").cast("Q")[6]
            self.regions += [
                mapped(fd, 0, CELL),
                mapped(fd, offset, 4096),
                mapped(fd, offset + 4096, 4096),
                mapped(fd, extent, 8),
            ]

        self.before = [bytes(region) for region in (*self.regions, self.registry)]

    def put_right(self):
        """Write what was there: the registry is that of all tests of this process."""
        for region, before in zip((*self.regions, self.registry), self.before, strict=True):
            region.cast("B")[:] = before

    def write_over(self, rng, parent):
        """Write nonsense, and what was there again, until the parent ends; never for long, as some waits have no limit."""
        calm = [bytes(region) for region in self.regions]
        while os.getppid() == parent:
            end = time.monotonic() + rng.uniform(0.001, 0.1)
            while time.monotonic() < end:
                region = rng.choice(self.regions) if rng.random() < 0.7 else self.slot(rng)
                at = rng.randrange(len(region))
                nasty, before = self.nasty(rng), region[at]
                for _ in range(rng.choice((1, 1, 100, 3000))):
                    region[at] = nasty
                    region[at] = before
                for _ in range(rng.choice((0, 0, 1, 10))):
                    region[rng.randrange(len(region))] = self.nasty(rng)
            for region, bytes_ in zip(self.regions, calm, strict=True):
                region.cast("B")[:] = bytes_
            time.sleep(rng.choice((0, 0, 0.001)))

    @staticmethod
    def nasty(rng):
        return rng.choice((0, rng.choice(NASTY), rng.randrange(512), 1 << rng.randrange(32), rng.getrandbits(32)))

    def slot(self, rng):
        """Return the place of one of the processes that come next, or were the last."""
        at = 32 + 32 * (1 + (self.registry[6] + rng.randrange(-2, 4)) % 4095)
        return self.registry[at : at + 32]

    def use(self, rng, times):
        """Do things to them."""
        import polyproc._core as core

        acts = (
            lambda: self.take_and_give(self.lock),
            lambda: self.take_and_give(self.rlock),
            lambda: self.take_and_give(rng.choice((self.few, self.bounded, self.many, self.last))),
            lambda: rng.choice((self.few, self.bounded, self.many, self.last)).get_value(),
            lambda: (repr(self.lock), repr(self.rlock), self.lock.owner, self.rlock.locked()),
            lambda: rng.choice((self.event.set, self.event.clear, self.event.is_set))(),
            lambda: self.event.wait(0.001),
            lambda: self.barrier.wait(0.002),
            lambda: (self.barrier.reset(), self.barrier.n_waiting, self.barrier.parties, self.barrier.broken),
            self.wait_and_notify,
            lambda: (len(self.array), self.array[-1], self.array[:]),
            lambda: [self.adopt(core, rng) for _ in range(50)],
            lambda: [core.Array._adopt(*self.array._where(), "b", None)[-1] for _ in range(500)],
            lambda: self.attach(core),
            lambda: [ctx.Lock() for _ in range(20)],
            lambda: self.put_and_get(rng.choice(self.queues), rng),
            lambda: self.look_at(rng.choice(self.queues)),
            lambda: self.send_and_receive(*rng.sample(self.ends, 2)),
        )
        for _ in range(times):
            with contextlib.suppress(Exception):
                rng.choice(acts)()

    @staticmethod
    def send_and_receive(sending, receiving):
        sending.send_bytes(b"x" * 100)
        for _ in range(8):
            if receiving.poll(0.001):
                receiving.recv_bytes()

    @staticmethod
    def take_and_give(lock):
        if lock.acquire(timeout=0.002):
            lock.release()

    def wait_and_notify(self):
        with self.condition:
            self.condition.wait(0.001)
            self.condition.notify(2)
            self.condition.notify_all()

    def adopt(self, core, rng):
        """Make a handle of a cell, of its kind or another."""
        id, offset = rng.choice(self.cells)._where()
        kind = rng.choice(
            (core.Lock, core.RLock, core.Semaphore, core.Event, core.Barrier, core.Condition, core.Array, core.Array)
        )
        if kind is core.Array:
            array = core.Array._adopt(id, offset, "b", None)
            assert len(array) == memoryview(array).nbytes
            array[-1], array[: min(len(array), 1000)]
        elif kind is core.Condition:
            with core.Condition._adopt(id, offset, self.condition._lock) as condition:
                condition.notify()
        elif kind is core.Semaphore:
            self.take_and_give(core.Semaphore._adopt(id, offset))
        elif kind in (core.Lock, core.RLock):
            self.take_and_give(kind._adopt(id, offset))
        else:
            kind._adopt(id, offset)

    def attach(self, core):
        core.detach(core.attach(*self.files))

    @staticmethod
    def put_and_get(queue, rng):
        queue = rng.choice((queue, pickle.loads(pickle.dumps(queue))))
        for _ in range(rng.randrange(8)):
            if isinstance(queue, polyproc.queues.SimpleQueue):
                if not queue.empty():
                    queue._get_record(0.001)
                else:
                    queue.put(b"x" * rng.randrange(500))
            elif rng.random() < 0.5:
                queue.put(b"x" * rng.choice((1, 8, 500, 60_000, 70_000)), timeout=0.001)
            else:
                queue.get(timeout=0.001)

    @staticmethod
    def look_at(queue):
        for act in ("qsize", "full", "empty", "_unfinished", "_slot_memory", "task_done"):
            with contextlib.suppress(Exception):
                getattr(queue, act)()


def use_and_end(target, seed):
    """Use it in a process of its own: 0 if that came to its end."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, chain=True)  # says where, and ends it
    signal.alarm(STUCK)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))  # what a length says is refused, and not filled
    target.use(random.Random(seed), 60)
    os._exit(0)


@pytest.mark.chaos
def test_whatever_is_written_over_shared_memory_nobody_crashes_or_hangs(chance):
    seconds = float(os.environ.get("POLYPROC_CHAOS_SECONDS", "3"))
    ctx.Lock().acquire()  # this process has its place before the registry is written over
    parent, target = os.getpid(), Target()
    writer = plain_fork()
    if writer == 0:
        with contextlib.suppress(BaseException):
            target.write_over(random.Random(chance.randrange(2**32)), parent)
        os._exit(0)
    rounds = 0
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            seed = chance.randrange(2**32)
            user = plain_fork()
            if user == 0:
                try:
                    use_and_end(target, seed)
                finally:
                    os._exit(3)
            status = os.waitpid(user, 0)[1]
            assert status == 0, f"round {rounds}, seed {seed}: status {status:#x}"
            rounds += 1
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        target.put_right()
        for fd in target.files:
            os.close(fd)
        del target
        gc.collect()
    print(rounds, "rounds")
    assert rounds > 1
