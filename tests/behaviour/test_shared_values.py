"""Value, Array and their raw kin, under each start method and on both backends."""

import array
import ctypes
import errno
import gc
import pickle
import re

import pytest

import polyproc
from polyproc import sharedctypes
from polyproc.reduction import ForkingPickler
from support import sharing


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_double))


def test_child_changes_what_its_parent_sees(ctx):
    value, numbers = ctx.Value("i", 5), ctx.Array("d", [1.0, 2.0, 3.0])
    point, text, raw = ctx.Value(Point, 1, 2.5), ctx.Array("c", 20), ctx.RawArray("h", 4)
    text.value = b"hello"
    process = ctx.Process(target=sharing.change, args=(value, numbers, point, text, raw))
    process.start()
    process.join()
    assert (value.value, numbers[:], point.x, point.y) == (11, [1.0, 3.0, 5.0], 2, 2.5)
    assert (text.value, text.raw[:12], raw[:]) == (b"hello there", b"hello there\0", [7, 0, 0, 0])


@pytest.mark.parametrize(
    "code, good, wrong",
    [
        ("b", [-128, 127], "x"),
        ("B", [0, 255], 1.5),
        ("h", [-(2**15), 2**15 - 1], None),
        ("H", [0, 2**16 - 1], "x"),
        ("i", [-(2**31), 2**31 - 1], 1.5),
        ("I", [0, 2**32 - 1], "x"),
        ("l", [-(2**63), 2**63 - 1], "x"),
        ("L", [0, 2**64 - 1], "x"),
        ("q", [-(2**63), 2**63 - 1], "x"),
        ("Q", [0, 2**64 - 1], "x"),
        ("f", [1.5, -0.25, 3], "x"),
        ("d", [1e300, -0.1, 3], "x"),
        ("c", [b"a", b"\0"], "a"),
        ("u", ["a", "\u20ac"], b"a"),
    ],
)
def test_every_type_code_keeps_its_values(code, good, wrong):
    value, numbers = polyproc.Value(code), polyproc.Array(code, good)
    for item in good:
        value.value = item
        assert value.value == item
    assert list(numbers) == good
    assert numbers[-1] == good[-1]
    with pytest.raises(TypeError):
        value.value = wrong
    with pytest.raises(TypeError):
        numbers[0] = wrong
    assert value.get_obj().value == good[-1]


def test_array_is_a_sequence():
    numbers = polyproc.Array("i", range(10))
    assert (len(numbers), numbers[3], numbers[-1], numbers[2:8:3], numbers[::-1][:2]) == (10, 3, 9, [2, 5], [9, 8])
    numbers[2:5] = array.array("i", [7, 8, 9])
    numbers[::9] = [1, 2]
    assert numbers[:] == [1, 1, 7, 8, 9, 5, 6, 7, 8, 2]
    for wrong in (10, -11):
        with pytest.raises(IndexError):
            numbers[wrong]
        with pytest.raises(IndexError):
            numbers[wrong] = 0
    with pytest.raises((TypeError, ValueError)):
        numbers[2:5] = [1]
    with pytest.raises(ValueError):
        polyproc.Array("i", -1)
    assert len(polyproc.Array("i", 0)) == 0
    assert polyproc.Array("c", b"bytes").raw == b"bytes"


class Index:
    """A number that is no int, as numpy's are."""

    def __init__(self, number):
        self.number = number

    def __index__(self):
        return self.number


@pytest.mark.parametrize("lock", [True, False])
def test_what_has_an_index_is_a_number(lock):
    value, array = polyproc.Value("i", Index(3), lock=lock), polyproc.Array("h", [Index(1), 2, Index(-1)], lock=lock)
    assert (value.value, array[:]) == (3, [1, 2, -1])
    value.value = Index(-7)
    array[Index(1)] = Index(5)
    array[:1] = [Index(6)]
    assert (value.value, array[:]) == (-7, [6, 5, -1])
    for wrong in ("x", 1.5, None):
        with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
            value.value = wrong
    with pytest.raises(ValueError, match="must be >= 0|non-negative"):
        polyproc.Array("i", -1, lock=lock)


def test_value_shares_its_lock():
    lock = polyproc.Lock()
    value = polyproc.Value("i", 1, lock=lock)
    assert value.get_lock() is lock
    with value:
        assert lock.locked()
    assert value.add(4) == 5
    for made in (polyproc.Value("i", 5, lock=False), polyproc.RawValue("i", 5)):
        assert not hasattr(made, "get_lock")
        assert made.value == 5
    with pytest.raises(AttributeError, match="'none' has no method 'acquire'"):
        polyproc.Value("i", 5, lock="none")
    with pytest.raises(AssertionError, match="object already synchronized"):
        sharedctypes.synchronized(value)


def test_value_waits_for_its_lock(ctx):
    value = ctx.Value("i", 0)
    processes = [ctx.Process(target=sharing.add_under, args=(value.get_lock(), value, 300)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert value.value == 900


def test_array_is_a_buffer_without_a_copy():
    numbers = polyproc.Array("i", [1, 2, 3])
    view = memoryview(numbers.get_obj()).cast("B").cast("i")
    view[1] = 20
    assert numbers[:] == [1, 20, 3]
    if polyproc.native:
        direct = memoryview(numbers)
        assert (direct.format, direct.shape, direct.tolist()) == ("i", (3,), [1, 20, 3])
        direct[2] = 30
        assert numbers[2] == 30


def test_copy_is_independent_and_large_arrays_have_memory_of_their_own():
    point = Point(1, 2.0)
    copied = sharedctypes.copy(point)
    point.x = 9
    assert (copied.x, copied.y) == (1, 2.0)
    for _ in range(20):
        large = polyproc.Array("d", 200_000)
        large[199_999] = 1.0
        assert large[0] == 0.0
        del large
        gc.collect()


@pytest.mark.parametrize("make", [polyproc.Array, polyproc.RawArray])
def test_more_memory_than_there_can_be_is_an_error_that_says_how_much(make):
    with pytest.raises(OSError, match="shared memory .*asked for") as caught:
        make("i", 10**15)
    assert caught.value.errno == errno.ENOMEM
    assert re.search("1000000000000000 items|4000000000000000 bytes", str(caught.value))
    assert make("i", 3)[:] == [0, 0, 0]


def test_unlocked_objects_are_pickled_by_reference():
    value = polyproc.Value("i", 1)
    again = pickle.loads(ForkingPickler.dumps(value))
    again.value = 2
    assert value.value == 2
