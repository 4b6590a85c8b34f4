"""Plain data, which the C core pickles by itself."""

import pytest

core = pytest.importorskip("polyproc._core")


def test_what_came_of_the_largest_batch_of_short_calls_is_plain():
    assert core.dumps_plain((4, [(True, [number]) for number in range(64)], 0.001)) is not None


@pytest.mark.parametrize("depth", [20, 100_000])
def test_what_is_very_deep_is_not(depth):
    value: object = 1
    for _ in range(depth):
        value = [value]
    try:
        assert core.dumps_plain(value) is None
    finally:
        while isinstance(value, list):
            value = value.pop()


def test_what_holds_itself_is_not():
    value: list[object] = []
    value.append(value)
    assert core.dumps_plain(value) is None
