"""Large messages of a queue: copied once, private to who receives them, and their memory comes back."""

import gc
import os
import threading

import pytest

import polyproc
from conftest import eventually
from polyproc._base import native as _native
from support import carrying

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.skipif(not _native.native, reason="the portable queue copies")
MEBIBYTE = 1 << 20


def memory(queue):
    """Bytes of memory that the queue's file has."""
    id, _ = queue._where()
    fd, _ = polyproc._core.hold(id)
    try:
        return os.fstat(fd).st_blocks * 512
    finally:
        polyproc._core.detach(id)


def start(ctx, target, *args):
    process = ctx.Process(target=target, args=args)
    process.start()
    return process


def test_arrays_are_the_receivers_own(ctx):
    queue, results = ctx.Queue(), ctx.Queue()
    array = numpy.arange(300_000, dtype="i8")
    queue.put(array)
    array[:] = 0  # after put: it does not show
    queue.put(array)
    expected = int(numpy.arange(300_000).sum()) + 300_000
    receivers = [start(ctx, carrying.change_array, queue, results) for _ in range(2)]
    found = sorted(results.get(timeout=30) for _ in receivers)
    assert found == [(300_000, True), (expected, True)]
    for receiver in receivers:
        receiver.join()


@pytest.mark.parametrize(
    "array",
    [
        numpy.zeros((300, 400)),
        numpy.asfortranarray(numpy.arange(120_000.0).reshape(300, 400)),
        numpy.arange(240_000)[::2],
        numpy.array(["text", None, 3] * 10_000, dtype=object),
        numpy.arange(100_000, dtype="u1"),
        numpy.zeros(0),
        numpy.array([(1, 2.5)] * 20_000, dtype=[("a", "i4"), ("b", "f8")]),
    ],
    ids=["c", "fortran", "strided", "objects", "bytes", "empty", "records"],
)
def test_every_kind_of_array(array):
    queue = polyproc.Queue()
    queue.put({"the": [array, array], "other": b"x" * 200_000})
    found = queue.get()
    assert numpy.array_equal(found["the"][0], array)
    assert found["the"][0] is found["the"][1]
    assert found["the"][0].dtype == array.dtype
    assert found["the"][0].flags.f_contiguous == array.flags.f_contiguous or array.base is not None
    assert found["other"] == b"x" * 200_000
    if array.flags.aligned:
        assert found["the"][0].flags.aligned
    queue.close()


def test_read_only_stays_read_only():
    queue = polyproc.Queue()
    array = numpy.zeros(100_000)
    array.flags.writeable = False
    queue.put(array)
    assert not queue.get().flags.writeable
    queue.close()


def test_a_slot_is_not_used_again_while_somebody_looks():
    queue = polyproc.Queue()
    kept = []
    for number in range(20):
        queue.put(numpy.full(50_000, number))
        kept.append(queue.get()[10:40_000])  # a view of it
    for number, view in enumerate(kept):
        assert (view == number).all()
    used = queue._slot_memory()
    assert used >= 20 * 400_000
    del kept, view
    gc.collect()
    for number in range(50):
        queue.put(numpy.full(50_000, number))
        assert queue.get()[0] == number
    assert memory(queue) < 10 * 400_000
    queue.close()


def test_memory_is_bounded():
    queue = polyproc.Queue()
    for size in (1, 20, 3, 90, 5):
        for _ in range(3):
            queue.put(numpy.zeros(size * MEBIBYTE, "u1"))
            queue.put(b"x" * size * MEBIBYTE)
        for _ in range(6):
            queue.get()
    assert memory(queue) <= 100 * MEBIBYTE
    queue.close()


def test_more_than_a_slot_may_hold_is_refused():
    queue = polyproc.Queue()
    with pytest.raises(OSError, match="long"):
        queue._slot_reserve(1 << 60)
    queue.put(1)
    assert queue.get() == 1
    queue.close()


def test_a_forked_child_has_its_own():
    ctx = polyproc.get_context("fork")
    queue, results = ctx.Queue(), ctx.Queue()
    queue.put(numpy.arange(200_000))
    array = queue.get()
    array[0] = 77
    child = ctx.Process(target=lambda: (array.__setitem__(1, 88), results.put((int(array[0]), int(array[1])))))
    child.start()
    for number in range(5):  # the parent goes on, and uses the slot again
        queue.put(numpy.full(200_000, number))
        queue.get()
    assert results.get(timeout=30) == (77, 88)
    child.join()
    assert array[1] == 1
    assert (array[2:] == numpy.arange(2, 200_000)).all()


def test_a_fork_while_another_thread_writes():
    """What the kernel copies for the process at a fork loses nothing that a thread writes at that moment."""
    ctx = polyproc.get_context("fork")
    queue = ctx.Queue()
    queue.put(numpy.zeros(500_000, "i8"))
    array = queue.get()
    stop, counts = threading.Event(), []

    def write():
        while not stop.is_set():
            numpy.add(array, 1, out=array)
            counts.append(1)

    thread = threading.Thread(target=write, name="polyproc-test")
    thread.start()
    for _ in range(10):
        child = ctx.Process(target=int)
        child.start()
        child.join()
    stop.set()
    thread.join()
    assert (array == len(counts)).all()


def test_a_killed_receiver_gives_back(ctx):
    queue, told = ctx.Queue(), ctx.Event()
    for _ in range(3):
        queue.put(numpy.zeros(10 * MEBIBYTE, "u1"))
        told.clear()
        receiver = start(ctx, carrying.get_and_sleep, queue, told)
        assert told.wait(30)
        receiver.kill()
        receiver.join()

    def comes_back():
        queue.put(numpy.zeros(100_000, "u1"))
        queue.get()
        return memory(queue) < 25 * MEBIBYTE

    eventually(comes_back)


def test_a_backlog_of_large_messages(ctx):
    queue = ctx.Queue()
    arrays = [numpy.full(100_000 + number, number, "u1") for number in range(200)]
    process = start(ctx, carrying.put_all, queue, arrays)
    process.join(60)
    assert process.exitcode == 0
    for number in range(200):
        found = queue.get(timeout=30)
        assert len(found) == 100_000 + number
        assert (found == number).all()
    del found
    assert memory(queue) < 10 * MEBIBYTE
