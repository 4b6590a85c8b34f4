"""The names of typing that a program does not wait for: named tuples and generics are as if they came from there."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from polyproc._base import typing as _typing


class Ours(_typing.NamedTuple):
    """A point."""

    x: int
    y: int = 3

    def total(self) -> int:
        return self.x + self.y


class Theirs(typing.NamedTuple):
    """A point."""

    x: int
    y: int = 3


class Further(Ours):
    """A point further away."""


class Empty(_typing.NamedTuple):
    """Nothing."""


def test_named_tuple_is_as_typings():
    ours, theirs = Ours(1), Theirs(1)
    assert ours == theirs == (1, 3)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert hash(ours) == hash(theirs)
    assert ours._asdict() == theirs._asdict()
    assert (ours.x, ours.y, ours.total()) == (1, 3, 4)
    assert ours._replace(y=5) == Ours(y=5, x=1) == (1, 5)
    for name in ("_fields", "_field_defaults", "__match_args__", "__slots__", "__doc__"):
        assert getattr(Ours, name) == getattr(Theirs, name)
    assert str(inspect.signature(Ours)) == "(x, y=3)"
    assert Ours.__mro__[1:] == Theirs.__mro__[1:]
    assert Empty() == ()
    assert Further(1) == (1, 3)
    assert type(Further(1)) is Further
    assert not hasattr(ours, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_named_tuple_is_copied(protocol):
    copied = pickle.loads(pickle.dumps(Ours(1), protocol))
    assert copied == Ours(1)
    assert type(copied) is Ours
    assert type(copy.copy(Ours(1))) is Ours


def test_named_tuple_refuses_what_is_wrong():
    with pytest.raises(TypeError, match=r"Ours.__new__\(\) missing 1 required positional argument: 'x'"):
        Ours()
    with pytest.raises(ValueError, match="unexpected field names"):
        Ours(1)._replace(z=1)
    with pytest.raises(AttributeError):
        Ours(1).x = 2


def test_subscripted_classes_are_bases():
    kind = _typing.TypeVar("kind")

    class Box(_typing.Generic[kind]):
        pass

    class Small(Box[int]):
        pass

    assert Small.__mro__[1] is Box
    assert typing.get_origin(Box[int]) is Box
    assert typing.get_args(Box[int]) == (int,)


def test_stub_and_module_have_the_same_names():
    stub = Path(_typing.__file__ + "i").read_text()
    names = {line.rpartition(" ")[2] for line in stub.splitlines() if line.startswith("from ")}
    assert names == {name for name in vars(_typing) if name in names}
    assert names >= {name for name in vars(_typing) if not name.startswith("_")} - {"annotations"}


def test_program_with_a_process_loads_no_typing():
    program = """
import sys, polyproc
if __name__ == "__main__":
    before = set(sys.modules)
    process = polyproc.get_context("fork").Process(target=abs, args=(1,))
    process.start()
    process.join()
    print(*({"typing", "re", "enum", "functools", "collections"} & (set(sys.modules) - before)))
"""
    assert subprocess.check_output([sys.executable, "-c", program]) == b"\n"


MADE = """
import sys
from polyproc._base.typing import NamedTuple

compiled = []
sys.addaudithook(lambda event, args: compiled.append(args) if event == "compile" else None)
for count in range(12):
    fields = {f"field_{number}": "int" for number in range(count)}
    kind = type(NamedTuple)("Kind", (NamedTuple,), {"__annotations__": fields})
    assert kind(*range(count)) == tuple(range(count)) == kind(**{name: at for at, name in enumerate(fields)})
    try:
        kind(*range(count + 1))
    except TypeError as error:
        assert str(error).startswith("Kind.__new__() takes"), error
assert not compiled
"""


def test_a_named_tuple_compiles_nothing():
    """The first text that an interpreter compiles takes it a millisecond."""
    subprocess.run([sys.executable, "-c", MADE], check=True, timeout=60)
