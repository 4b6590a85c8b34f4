"""Exceptions on their way to another process: each arrives as it was, and without a second call of its `__init__`."""

import pickle
import threading

import pytest

from polyproc._pickling.pickler import dumps, reason_of, sendable


class OtherArguments(Exception):
    def __init__(self, code, *, unit):
        super().__init__(f"{code} {unit}")
        self.code = code


class Twice(Exception):
    """Called again with its `args`, it would say something else."""

    def __init__(self, name, tail="!"):
        super().__init__(name + tail)


class Remote(OSError):
    def __init__(self, host, number):
        super().__init__(number, f"{host} is away", host)
        self.host = host


class Decoding(UnicodeDecodeError):
    def __init__(self, data):
        super().__init__("ascii", data, 0, 1, "not here")


class Slotted(Exception):
    __slots__ = ("where",)

    def __init__(self, *, where):
        self.where = where


class Mixin:
    pass


class Mixed(Mixin, KeyError, ValueError):
    def __init__(self):
        super().__init__("a key")


class Reduced(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b

    def __reduce__(self):
        return Reduced, (self.args[0], self.b)


class Wrong(Exception):
    """Its `__reduce__` does not work."""

    def __init__(self, a, b):
        super().__init__(a)

    def __reduce__(self):
        return Wrong, self.args


class State(Exception):
    def __init__(self, *, value):
        self.value = value

    def __setstate__(self, state):
        self.restored = True
        super().__setstate__(state)


def arrived(error):
    return pickle.loads(dumps(sendable(error)))


def noted():
    error = OtherArguments(1, unit="s")
    error.add_note("a note")
    return error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain"),
        KeyError(("a", 1)),
        StopIteration(3),
        SystemExit(4),
        FileNotFoundError(2, "no such file", "name"),
        ImportError("no module", name="n", path="p"),
        noted(),
        Twice("name"),
        Remote("host", 111),
        Decoding(b"\xff"),
        Slotted(where=7),
        Mixed(),
        Reduced("a", "b"),
        Wrong("a", "b"),
        ExceptionGroup("several", [OtherArguments(2, unit="m"), ExceptionGroup("inner", [Remote("h", 5)])]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_arrives_as_it_was(error):
    copy = arrived(error)
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert repr(copy) == repr(error)
    assert vars(copy).keys() == vars(error).keys()
    for name in ("errno", "strerror", "filename", "host", "where", "code", "value", "object", "start", "name", "b"):
        assert getattr(copy, name, None) == getattr(error, name, None)


def test_the_parts_of_a_group_arrive_as_they_were():
    group = ExceptionGroup("several", [Twice("n"), ExceptionGroup("inner", [Remote("h", 5)])])
    first, inner = arrived(group).exceptions
    assert (type(first), str(first)) == (Twice, "n!")
    assert (type(inner.exceptions[0]), inner.exceptions[0].errno) == (Remote, 5)


def test_the_state_is_set_by_the_class_where_it_has_a_way():
    copy = arrived(State(value=3))
    assert (copy.value, copy.restored) == (3, True)


def test_one_that_cannot_travel_says_which_part_it_is():
    error = OtherArguments(1, unit="s")
    error.lock = threading.Lock()
    with pytest.raises(TypeError) as caught:
        sendable(error)
    assert "cannot pickle '_thread.lock' object" in reason_of(caught.value)
    assert "error.lock" in reason_of(caught.value)


class NotOne(Exception):
    def __reduce__(self):
        return str, ("text",)


def test_what_arrives_is_an_exception():
    copy = arrived(NotOne())
    assert type(copy) is NotOne
