"""Marshal is used only where it is exact."""

import array
import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

import polyproc
from polyproc._process.job import try_marshal, unmarshal

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner) | st.frozensets(st.integers())
    ),
    max_leaves=20,
)


class Number(int):
    pass


class Colour(enum.IntEnum):
    RED = 1


def same_types(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return all(same_types(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    return not isinstance(a, list | tuple) or all(same_types(x, y) for x, y in zip(a, b, strict=True))


@given(value=PLAIN)
def test_plain_values_come_back_equal_and_of_the_same_type(value):
    process = polyproc.get_context("spawn").Process(target=len, args=(value,), name="n", daemon=True)
    data = try_marshal(process)
    assert data is not None
    copy = unmarshal(data)
    assert copy._args == (value,)
    assert same_types(copy._args, (value,))
    assert (copy._target, copy.name, copy.daemon, type(copy)) == (len, "n", True, type(process))


@pytest.mark.parametrize(
    "value", [bytearray(b"x"), array.array("i", [1]), memoryview(b"x"), Number(3), Colour.RED, object(), [Number(1)]]
)
def test_everything_else_is_left_to_pickle(value):
    assert try_marshal(polyproc.get_context("spawn").Process(target=len, args=(value,))) is None


def test_target_that_is_not_found_by_name_is_left_to_pickle():
    for target in (lambda: None, Number(3).bit_length, pytest):
        assert try_marshal(polyproc.get_context("spawn").Process(target=target)) is None
