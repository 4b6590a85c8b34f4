"""Ctrl-C waits while something is made; however it comes, and how often, the program's handler is there again."""

import functools
import operator
import signal
import sys

import pytest

from polyproc._platform import handles
from polyproc._platform.handles import HeldBack


class Kept(list):
    """A list whose `remove` can be another: something in C, which has no frame of its own."""


@pytest.fixture
def calls():
    """Have a handler that raises; give the list of its calls."""
    calls = []

    def handler(number, frame):
        calls.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    yield calls
    signal.signal(signal.SIGINT, before)


def test_a_late_one_that_comes_as_it_ends_is_told_when_the_handler_is_back(calls, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(handles, "_INSISTS_AFTER", -1.0)  # each one is late
    kept = Kept()
    kept.remove = functools.partial(operator.contains, map(signal.raise_signal, [signal.SIGINT]))
    monkeypatch.setattr(handles, "held_back", kept)
    held_back = HeldBack()
    held_back.__enter__()
    with pytest.raises(KeyboardInterrupt):
        held_back.__exit__()
    assert calls == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is handler


def test_where_greenlets_may_switch_nothing_is_held_back(calls, monkeypatch):
    """Those that hold back would not end in turn, and each puts back what it has found."""
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setitem(sys.modules, "gevent.monkey", sys)
    with HeldBack():
        assert signal.getsignal(signal.SIGINT) is handler
