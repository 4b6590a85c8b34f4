"""One contract for each kind of object, kept by the C core's and by the portable ones alike, in one run."""

import os
import queue as standard_queue
import threading
import time
from types import SimpleNamespace

import pytest

import polyproc
from conftest import eventually
from polyproc._connection.portable_connection import PortableConnection
from polyproc._memory import portable_segment
from polyproc._memory.tracker import tracker
from polyproc._platform.posix import IS_WINDOWS
from polyproc._queues import portable_queue
from polyproc._synchronize import portable_locks, portable_waits
from polyproc.queues import ShutDown

pytestmark = pytest.mark.skipif(IS_WINDOWS, reason="there is no fork")
ctx = polyproc.get_context("fork")
KINDS = ["portable"]
if polyproc.native:
    from polyproc import _core as core
    from polyproc._queues import core_queue
    from polyproc._synchronize import core_locks

    KINDS.insert(0, "core")


@pytest.fixture(params=KINDS)
def locks(request):
    """The module with locks and semaphores of a kind."""
    return core_locks if request.param == "core" else portable_locks


@pytest.fixture(params=KINDS)
def waits(request):
    """The module with conditions, events and barriers of a kind."""
    return core_locks if request.param == "core" else portable_waits


@pytest.fixture(params=KINDS)
def queues(request):
    """The module with queues of a kind."""
    return core_queue if request.param == "core" else portable_queue


@pytest.fixture(params=KINDS)
def pipe(request):
    """The ends of a pipe of a kind."""
    made = polyproc.Pipe()
    kind = core.Connection if request.param == "core" else PortableConnection
    fds = [end.fileno() for end in made]
    ends = [kind(os.dup(fd)) for fd in fds]
    yield ends
    for end in (*ends, *made):
        end.close()


def in_child(function, *args):
    """Call a function in another process; return what it returned."""
    process = ctx.Process(target=function, args=args)
    process.start()
    return process.result(60)


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread


# -- locks and semaphores ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_what_is_held_is_not_had_by_another_process(locks, name):
    lock = getattr(locks, name)()
    with lock:
        assert not in_child(lock.acquire, False)
        assert not in_child(lock.acquire, True, 0.01)
        assert lock.locked()
    assert in_child(lock.acquire, True, 60)


def test_a_lock_is_released_by_any_process_and_no_more_than_once(locks):
    lock = locks.Lock()
    lock.acquire()
    in_child(lock.release)
    assert not lock.locked()
    with pytest.raises(ValueError, match="released too many times"):
        lock.release()


def test_an_rlock_is_its_holders(locks):
    lock = locks.RLock()
    assert lock.acquire() and lock.acquire()
    lock.release()
    assert not in_child(lock.acquire, False)
    lock.release()
    with pytest.raises(AssertionError, match="not owned by thread"):
        lock.release()


def test_a_semaphore_counts_and_a_bounded_one_has_a_limit(locks):
    plain, bounded = locks.Semaphore(2), locks.BoundedSemaphore(2)
    for made in (plain, bounded):
        assert [made.acquire(False) for _ in range(3)] == [True, True, False]
        for _ in range(2):
            in_child(made.release)
        assert made.get_value() == 2
    plain.release()
    assert plain.get_value() == 3
    with pytest.raises(ValueError, match="released too many times"):
        bounded.release()


@pytest.mark.parametrize("value", [-1, 2**31])
def test_a_semaphores_value_is_checked(locks, value):
    with pytest.raises(OSError, match="Invalid argument"):
        locks.Semaphore(value)


# -- conditions, events, barriers --------------------------------------------------------------------------------------


def test_a_condition_needs_its_lock_and_gives_it_back(waits):
    condition = waits.Condition()
    with pytest.raises(AssertionError):
        condition.notify()
    with condition:
        assert not condition.wait(0.01)
        assert not in_child(condition.acquire, False)


def notify_all(condition):
    with condition:
        condition.notify_all()


def test_a_condition_is_notified_by_another_process(waits):
    condition = waits.Condition()
    with condition:
        process = ctx.Process(target=notify_all, args=(condition,))
        process.start()
        assert condition.wait(60)
    process.join()


def test_an_event_is_set_for_all(waits):
    event = waits.Event()
    assert not event.wait(0.01)
    in_child(event.set)
    assert event.is_set() and event.wait(0) and in_child(event.wait, 60)
    event.clear()
    assert not in_child(event.is_set)


def test_a_barrier_lets_all_go_and_breaks_for_all(waits):
    barrier = waits.Barrier(2)
    process = ctx.Process(target=barrier.wait, args=(60,))
    process.start()
    assert {barrier.wait(60), process.result(60)} == {0, 1}
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.01)
    assert barrier.broken
    barrier.reset()
    assert not barrier.broken


# -- queues ------------------------------------------------------------------------------------------------------------


def get_when(queue, go):
    go.wait()
    return queue.get(timeout=60)


def shut_down_when(queue, go):
    go.wait()
    queue.shutdown()


def test_a_queue_is_in_order_across_processes_and_has_a_limit(queues):
    queue, go = queues.Queue(3), ctx.Event()
    process = ctx.Process(target=get_when, args=(queue, go))
    process.start()
    for item in (1, "two", b"3" * 100_000):
        queue.put(item)
    with pytest.raises(standard_queue.Full):
        queue.put(4, timeout=0.01)
    go.set()
    assert process.result(60) == 1
    assert queue.get(timeout=60) == "two"
    assert queue.get(timeout=60) == b"3" * 100_000
    with pytest.raises(standard_queue.Empty):
        queue.get(timeout=0.01)
    end(queue)


def test_a_joinable_queue_waits_until_all_is_done(queues):
    queue = queues.JoinableQueue()
    queue.put(1)
    joining = in_thread(queue.join)
    try:
        assert queue.get(timeout=60) == 1
        assert joining.is_alive()
    finally:
        queue.task_done()
        joining.join(60)
    with pytest.raises(ValueError, match="called too many times"):
        queue.task_done()
    end(queue)


def test_a_queue_that_is_shut_down_ends_for_all(queues):
    queue, go = queues.Queue(), ctx.Event()
    process = ctx.Process(target=shut_down_when, args=(queue, go))
    process.start()
    queue.put(1)
    eventually(lambda: not queue.empty())
    go.set()
    process.result(60)
    with pytest.raises(ShutDown):
        queue.put(2)
    assert list(queue) == [1]
    end(queue)


def test_a_simple_queue_is_in_order(queues):
    queue = queues.SimpleQueue()
    for item in range(3):
        queue.put(item)
    assert [in_child(queue.get), queue.get(), queue.get()] == [0, 1, 2]  # it has no thread
    assert queue.empty()
    queue.close()


def end(queue):
    queue.close()
    queue.join_thread()


# -- connections -------------------------------------------------------------------------------------------------------


def test_a_connection_keeps_messages_apart(pipe):
    ours, theirs = pipe
    ours.send_bytes(b"abc")
    ours.send_bytes(b"12345", 1, 3)
    assert theirs.poll(60)
    buffer = bytearray(6)
    assert theirs.recv_bytes() == b"abc"
    assert theirs.recv_bytes_into(buffer, 2) == 3
    assert buffer == b"\0\x00234\0"
    assert not theirs.poll(0)
    ours.send({"a": [1]})
    assert theirs.recv() == {"a": [1]}


def test_a_connection_takes_no_more_than_it_is_told(pipe):
    ours, theirs = pipe
    ours.send_bytes(b"x" * 9)
    with pytest.raises(polyproc.BufferTooShort) as told:
        theirs.recv_bytes_into(bytearray(4))
    assert told.value.args[0] == b"x" * 9
    ours.send_bytes(b"x" * 9)
    with pytest.raises(OSError, match="bad message length"):
        theirs.recv_bytes(4)


# -- named segments ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=KINDS)
def segment_kind(request):
    """A class like `SharedMemory`, of a kind."""
    if request.param == "core":
        return type("Segment", (core.SharedMemory,), {"_tracker": tracker})
    nobody = SimpleNamespace(covers=lambda name: True)  # the tests end it themselves
    return type("Segment", (portable_segment.PortableSegment,), {"_tracker": nobody})


def test_a_segment_is_found_by_its_name_until_it_is_unlinked(segment_kind):
    name = f"polyproc-contract-{time.monotonic_ns()}"
    made = segment_kind(name, create=True, size=100, track=False)
    try:
        found = segment_kind(name, track=False)
        made.buf[0] = 7
        assert found.buf[0] == 7
        assert found.size >= 100
        with pytest.raises(FileExistsError):
            segment_kind(name, create=True, size=100, track=False)
        found.close()
    finally:
        made.unlink()
        made.close()
    with pytest.raises(FileNotFoundError):
        segment_kind(name, track=False)
