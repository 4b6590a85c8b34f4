"""Locks and semaphores, under each start method; what outlives an owner needs the C core."""

import contextlib
import functools
import itertools
import mmap
import os
import pickle
import random
import signal
import threading
import time

import pytest

import polyproc
from conftest import eventually
from polyproc._synchronize import portable_locks
from support import sharing

native_only = pytest.mark.skipif(not polyproc.native, reason="needs the C core")


def start(ctx, target, *args):
    process = ctx.Process(target=target, args=args)
    process.start()
    return process


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_lock_excludes_between_processes(ctx, kind):
    lock, value = getattr(ctx, kind)(), ctx.RawValue("i", 0)
    processes = [start(ctx, sharing.add_under, lock, value, 500) for _ in range(3)]
    sharing.add_under(lock, value, 500)
    for process in processes:
        process.join()
    assert value.value == 2000


def test_lock_can_be_released_by_another_process_and_stays_held_when_its_taker_ends(ctx):
    lock = ctx.Lock()
    start(ctx, sharing.take_and_end, lock).join()
    assert not lock.acquire(timeout=0.2)
    assert lock.locked()
    lock.release()
    assert lock.acquire(False)


@native_only
def test_process_that_has_handed_a_lock_over_leaves_nothing_of_itself(ctx):
    lock = ctx.Lock()
    for _ in range(3):
        start(ctx, sharing.take_and_end, lock).join()
        assert lock.locked()
        assert lock.owner is None
        lock.release()
    with pytest.raises(ValueError, match="too many times"):
        lock.release()


@native_only
@pytest.mark.parametrize("how", ["fork", "clone"])
def test_fork_of_a_process_is_never_taken_for_it(ctx, how):
    """Also of one that was only sent what it has, and by a system call that runs no handler."""
    lock, rlock, queue = ctx.Lock(), ctx.RLock(), ctx.Queue()
    process = start(ctx, sharing.hold_and_fork, lock, rlock, queue, how)
    assert queue.get(timeout=30) == (False, False, False, True)
    process.join()
    assert process.exitcode == 0


def test_lock_used_wrongly_raises_the_standard_librarys_errors(ctx):
    lock, rlock, bounded = ctx.Lock(), ctx.RLock(), ctx.BoundedSemaphore(1)
    for wrong in (lock, bounded):
        with pytest.raises(ValueError, match="semaphore or lock released too many times"):
            wrong.release()
    with pytest.raises(AssertionError, match="attempt to release recursive lock not owned by thread"):
        rlock.release()
    for value in (-1, 2**31):
        with pytest.raises(OSError, match="Invalid argument"):
            ctx.Semaphore(value)
    with pytest.raises(TypeError):
        lock.acquire(True, "soon")
    with pytest.raises(TypeError):
        ctx.Semaphore("many")


def test_rlock_is_its_threads():
    lock = polyproc.RLock()
    with lock, lock:
        thread = threading.Thread(target=lambda: found.append(lock.acquire(False)))
        found = []
        thread.start()
        thread.join()
    assert found == [False]
    assert lock.acquire(False)


def test_wait_ends_at_its_deadline_or_by_a_signal():
    lock = polyproc.Lock()
    lock.acquire()
    begun = time.monotonic()
    assert not lock.acquire(timeout=0.1)
    assert not lock.acquire(True, -1)
    assert not lock.acquire(block=False)
    assert time.monotonic() - begun >= 0.1

    def interrupt(signum, frame):
        raise InterruptedError("by the handler")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for wait in (lock.acquire, polyproc.Event().wait, polyproc.Semaphore(0).acquire):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(InterruptedError, match="by the handler"):
                wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@native_only
@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_lock_is_handed_on_when_its_owner_is_killed(ctx, kind):
    lock, held = getattr(ctx, kind)(), ctx.Event()
    process = start(ctx, sharing.hold, lock, held)
    held.wait(30)
    assert lock.owner == process.pid
    assert not lock.acquire(False)
    waiter = threading.Timer(0.1, kill, [process])
    waiter.start()
    with pytest.warns(polyproc.OwnerDiedWarning, match="a process that held a lock died"):
        assert lock.acquire(timeout=30)
    waiter.join()
    assert lock.recovered
    assert lock.owner == os.getpid()
    lock.release()
    assert lock.acquire(False)
    assert not lock.recovered


@native_only
@pytest.mark.filterwarnings("ignore::polyproc.OwnerDiedWarning")
def test_token_of_a_dead_process_comes_back_if_it_was_sure_to(ctx):
    told = ctx.Event()
    for semaphore, target, comes_back in (
        (ctx.BoundedSemaphore(1), sharing.hold, True),
        (ctx.Semaphore(1), sharing.hold_in_block, True),
        (ctx.Semaphore(1), sharing.hold, False),
    ):
        told.clear()
        process = start(ctx, target, semaphore, told)
        told.wait(30)
        assert semaphore.get_value() == 0
        kill(process)
        assert semaphore.acquire(timeout=30 if comes_back else 0.2) is comes_back
        assert semaphore.recovered is comes_back


def test_semaphore_counts(ctx):
    for value in (0, 1, 3, 32, 33, 1000):
        semaphore = ctx.Semaphore(value)
        for left in reversed(range(value)):
            assert semaphore.acquire(False)
            assert semaphore.get_value() == left
        assert not semaphore.acquire(False)
        semaphore.release()
        semaphore.release()
        assert semaphore.get_value() == 2
    bounded = ctx.BoundedSemaphore(40)
    bounded.acquire()
    bounded.release()
    with pytest.raises(ValueError):
        bounded.release()


def test_pickling_a_lock_gives_the_same_lock():
    for kind in ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Event", "Condition"):
        made = getattr(polyproc, kind)()
        again = pickle.loads(pickle.dumps(made))
        if kind == "Event":
            made.set()
            assert again.is_set()
        else:
            made.acquire()
            assert (again.locked() if kind != "Condition" else again._lock.locked()) is True
            made.release()


@pytest.mark.filterwarnings("ignore::polyproc.OwnerDiedWarning")
def test_shared_objects_travel_through_a_live_connection(ctx):
    ours, theirs = ctx.Pipe()
    process = start(ctx, sharing.receive_and_take, theirs)
    lock, event, value = ctx.Lock(), ctx.Event(), ctx.Value("i", 0)
    ours.send((lock, event, value))
    assert event.wait(30)
    assert value.value == process.pid
    assert lock.locked()
    if polyproc.native:
        assert lock.owner == process.pid
    kill(process)
    assert lock.acquire(timeout=30 if polyproc.native else 0.1) is bool(polyproc.native)
    ours.close()
    theirs.close()


@native_only
def test_handle_from_nowhere_is_refused():
    from polyproc import _core

    lock = polyproc.Lock()
    id, offset = lock._where()
    for wrong in ((b"x" * 16, offset), (b"", offset), (id, offset + 1), (id, 0), (id, 2**40), (id, 65536)):
        with pytest.raises(ValueError):
            _core.Lock._adopt(*wrong)
    with pytest.raises(ValueError):
        _core.Event._adopt(id, offset)
    with pytest.raises((ValueError, OSError)):
        _core.attach(0, 0)


@native_only
def test_corrupted_memory_raises_or_waits_and_never_crashes():
    fd = None
    lock, semaphore = polyproc.Lock(), polyproc.BoundedSemaphore(3)
    from polyproc._pickling.chunk import descriptors

    for handle in (lock, semaphore):
        id, offset = handle._where()
        fd, _ = descriptors(id)
        for pattern in (b"\xff", b"\x80", b"\x55"):
            before = os.pread(fd, 64, offset)
            os.pwrite(fd, pattern * 64, offset)
            os.pwrite(fd, before[4:8], offset + 4)  # its kind
            try:
                if handle.acquire(timeout=0.05):
                    handle.release()
            except (ValueError, OSError, RuntimeWarning):
                pass
            os.pwrite(fd, before, offset)
    assert lock.acquire(False)


# Where in a cell are a semaphore's number of tokens, and the object's kind: csrc/core/pp_cell.h.
TOKENS, KIND = 5, 1


def words_of(handle):
    """Map the cell of a shared object as another process of the same user could."""
    from polyproc import _core

    id, offset = handle._where()
    fd, _ = _core.hold(id)
    _core.detach(id)
    whole = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    return memoryview(mmap.mmap(fd, offset - whole + 64, offset=whole))[offset - whole :].cast("I")


@native_only
def test_semaphore_has_as_many_tokens_as_when_it_came_whatever_is_written_over_its_number():
    from polyproc import _core

    semaphore = polyproc.Semaphore(0)  # the last cell of its chunk: what lies behind is not its own
    while semaphore._where()[1] + 64 < 65536:
        semaphore = polyproc.Semaphore(0)
    words = words_of(semaphore)
    for number in (1, 32, 33, 2**32 - 1):
        words[TOKENS] = number
        assert not semaphore.acquire(False)
        assert semaphore.get_value() == 0
        with pytest.raises(ValueError, match="no whole semaphore"):
            _core.Semaphore._adopt(*semaphore._where())


@native_only
def test_array_has_the_size_that_it_had_whatever_is_written_over_it():
    from polyproc import _core

    array = _core.Array("b", 16, None)
    again = _core.Array._adopt(*array._where(), "b", None)
    words = words_of(array)
    words[3] = 256  # 1 TiB
    assert len(array) == len(again) == memoryview(again).nbytes == 16
    with pytest.raises(ValueError, match="no whole memory"):
        _core.Array._adopt(*array._where(), "b", None)


@native_only
def test_lock_is_of_the_kind_that_it_was_whatever_is_written_over_it():
    condition, value = polyproc.Condition(polyproc.Lock()), polyproc.Value("i", 1)
    words_of(condition._lock)[KIND] = 2  # an RLock's
    words_of(value.get_lock())[KIND] = 3  # a Semaphore's
    with condition, value.get_lock():
        assert not condition.acquire(False)
        value.value += 1
    with condition:
        assert not condition.wait(0.001)
    assert value.value == 2


@native_only
@pytest.mark.parametrize("kind", [0x20, 0x21, 0x40, 0x90, 0x100, 0x180, 0xFFFFFFFF])
def test_process_comes_to_its_locks_whatever_is_written_over_the_places_of_processes(kind):
    from polyproc import _core

    lock = polyproc.Lock()
    with lock:
        id, _ = lock._where()
    _, fd = _core.hold(id)
    _core.detach(id)
    registry = memoryview(mmap.mmap(fd, 128 * 4097)).cast("I")
    before = bytes(registry)
    for word in (0, 0x40000000, 0xC0000000):
        first = registry[6]
        for place in range(first, first + 20):
            at = 32 + 32 * (1 + place % 4095)
            registry[at : at + 32] = memoryview(bytes(128)).cast("I")
            registry[at], registry[at + 4], registry[at + 17] = word, kind, 2
        for _ in range(2):
            process = start(polyproc.get_context("fork"), sharing.take_and_give, lock)
            process.join()
            assert process.exitcode == 0
    registry.cast("B")[:] = before


def test_thousands_of_locks_cost_little():
    if not polyproc.native:
        pytest.skip("each has a descriptor of its own")
    before = len(os.listdir("/proc/self/fd"))
    locks = [polyproc.Lock() for _ in range(10_000)]
    assert len(os.listdir("/proc/self/fd")) - before < 32
    assert all(lock.acquire(False) for lock in locks)
    del locks
    eventually(lambda: len(os.listdir("/proc/self/fd")) - before <= 2)


def test_lock_tells_who_holds_it(ctx):
    lock, rlock, held = ctx.Lock(), ctx.RLock(), ctx.Event()
    assert (repr(lock), repr(rlock)) == ("<Lock(owner=None)>", "<RLock(None, 0)>")
    with lock, rlock, rlock:
        assert (repr(lock), repr(rlock)) == ("<Lock(owner=MainProcess)>", "<RLock(MainProcess, 2)>")
        shown = []
        thread = threading.Thread(target=lambda: shown.append(repr(lock)))
        thread.start()
        thread.join()
        assert shown == ["<Lock(owner=SomeOtherThread)>"]
    process = start(ctx, sharing.hold, lock, held)
    held.wait(30)
    assert repr(lock) == "<Lock(owner=SomeOtherProcess)>"
    process.kill()
    process.join()


@native_only
def test_wait_ends_by_what_its_thread_has_asked_for():
    import polyproc._core as core

    def check():
        raise BrokenPipeError

    waits = [polyproc.Semaphore(0).acquire, polyproc.Event().wait, polyproc.Queue().get]
    held, condition = polyproc.Lock(), polyproc.Condition()
    condition.acquire()
    held.acquire()
    core.check_waits(check)
    try:
        for wait in (*waits, held.acquire, condition.wait):
            with pytest.raises(BrokenPipeError):
                wait()
        thread = threading.Thread(target=lambda: found.append(polyproc.Event().wait(0.1)))
        found = []
        thread.start()
        thread.join()
    finally:
        core.check_waits(None)
    assert found == [False]
    assert not polyproc.Event().wait(0.1)
    condition.release()  # which its wait has taken again


class Broken(Exception):
    pass


@contextlib.contextmanager
def broken_off():
    """Yield a function that calls another, broken off at any moment by what a signal's handler raises.

    It returns whether that came, and what was returned, if anything was.
    """
    armed, chance = False, random.Random(7)

    def break_off(signum, frame):
        nonlocal armed
        if armed:
            armed = False
            raise Broken

    def call(function):
        nonlocal armed
        returned, armed = [], True
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.000001, 0.00006))
            returned.extend(itertools.starmap(function, ((),)))
            armed = False
        except Broken:
            return True, returned
        return False, returned

    before = signal.signal(signal.SIGALRM, break_off)
    try:
        yield call
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_an_acquire_that_is_broken_off_leaves_nothing_taken(kind):
    """A Ctrl-C as a rule; without the core, too."""
    with broken_off() as call:
        broken = 0
        for _ in range(600):
            lock = getattr(portable_locks, kind)()
            was_broken, held = call(lock.acquire)
            broken += was_broken and not held
            assert held or lock.acquire(False)
    assert broken


@pytest.mark.parametrize("tokens", [0, 1, 2, 100_000])
def test_a_counter_of_many_tokens_loses_none_when_it_is_broken_off(monkeypatch, tokens):
    """As there is for more tokens than a pipe takes, where there is no eventfd; and for the items of a queue."""
    monkeypatch.setattr(portable_locks.eventfd, "may_work", False)
    semaphore = portable_locks.Semaphore(100_000)
    assert type(semaphore._tokens) is portable_locks.ManyTokens
    semaphore._tokens = portable_locks.ManyTokens(tokens)
    signal = semaphore._tokens._signal
    with broken_off() as call:
        broken = 0
        for number in range(1200):
            before = semaphore.get_value()
            is_to_fall = number % 2 == (before > 0)
            was_broken, returned = call(
                functools.partial(semaphore.acquire, False) if is_to_fall else semaphore.release
            )
            broken += was_broken
            after = semaphore.get_value()
            if is_to_fall:
                assert after == before - (returned == [True])
            else:  # whose release was broken off does not know whether it was
                assert after == before + 1 or (after == before and was_broken)
            assert not after or signal.value() == 1, "who waits would not be woken"
            assert semaphore._tokens._turn.value() == 1
    assert broken
    while semaphore.acquire(False):
        pass
    assert signal.value() == 0, "who waits would not sleep"
    waiter = threading.Thread(target=semaphore.acquire)
    waiter.start()
    semaphore.release()
    waiter.join(20)
    assert not waiter.is_alive()
