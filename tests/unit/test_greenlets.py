"""Waits in a thread that has other greenlets: a stand-in for gevent runs what another greenlet would do meanwhile."""

import os
import select
import sys
import time
import types

import pytest

import polyproc
from polyproc._base.native import native
from polyproc._platform import handles as greenlets
from polyproc._platform.handles import pause, ready
from polyproc.connection import wait

SECONDS = 60  # of waits that would fail, and not hang, if nobody ran meanwhile


class Library:
    """Stands for gevent. What is in `others` is done as soon as somebody lets greenlets run, the first of them first."""

    def __init__(self, monkeypatch):
        self.others = []
        self.slept = []
        self.hub = object()
        self.current = object()
        monkey = types.ModuleType("gevent.monkey")
        monkey.is_module_patched = lambda name: True
        local = types.ModuleType("gevent._hub_local")
        local.get_hub_if_exists = lambda: self.hub
        greenlet = types.ModuleType("greenlet")
        greenlet.getcurrent = lambda: self.current
        gevent = types.ModuleType("gevent")
        gevent.sleep = self.sleep
        for module in (monkey, local, greenlet, gevent):
            monkeypatch.setitem(sys.modules, module.__name__, module)

    def sleep(self, seconds):
        assert 0 <= seconds <= 0.01
        self.slept.append(seconds)
        if self.others and len(self.slept) > 2:
            self.others.pop(0)()


@pytest.fixture
def library(monkeypatch):
    return Library(monkeypatch)


def events():
    event = polyproc.Event()
    return event.set, lambda: event.wait(SECONDS), True


def locks():
    lock = polyproc.Lock()
    lock.acquire()
    return lock.release, lambda: lock.acquire(timeout=SECONDS), True


def semaphores():
    semaphore = polyproc.Semaphore(0)
    return semaphore.release, lambda: semaphore.acquire(timeout=SECONDS), True


def conditions():
    condition = polyproc.Condition(polyproc.Lock())

    def notify():
        with condition:
            condition.notify()

    def attend():
        with condition:
            return condition.wait(SECONDS)

    return notify, attend, True


def queues():
    queue = polyproc.Queue()
    return lambda: queue.put("item"), lambda: queue.get(timeout=SECONDS), "item"


def simple_queues():
    queue = polyproc.SimpleQueue()
    return lambda: queue.put("item"), queue.get, "item"


def full_queues():
    queue = polyproc.Queue(1)
    queue.put(1)
    return lambda: wait([queue], SECONDS) and queue.get(), lambda: queue.put(2, timeout=SECONDS), None


def connections():
    receiver, sender = polyproc.Pipe()
    return lambda: sender.send("sent"), receiver.recv, "sent"


def polled_connections():
    receiver, sender = polyproc.Pipe(False)
    return lambda: sender.send("sent"), lambda: receiver.poll(SECONDS) and receiver.recv(), "sent"


def waited_for():
    receiver, sender = polyproc.Pipe(False)
    return lambda: sender.send("sent"), lambda: wait([receiver], SECONDS) and receiver.recv(), "sent"


KINDS = (
    events,
    locks,
    semaphores,
    conditions,
    queues,
    simple_queues,
    full_queues,
    connections,
    polled_connections,
    waited_for,
)


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_lets_other_greenlets_run(library, kind):
    if not native and kind in (conditions, queues, simple_queues, full_queues):
        pytest.skip("in pure Python both take several steps by turns, which the stand-in cannot do")
    act, attend, expected = kind()
    library.others.append(act)
    assert attend() == expected
    assert not library.others


@pytest.mark.parametrize("duplex", [True, False])
def test_a_message_that_does_not_fit_lets_the_reader_run(library, duplex):
    receiver, sender = polyproc.Pipe(duplex)
    message = bytes(range(256)) * 8192
    got = []

    def drain():
        while ready([receiver.fileno()], 0):
            got.append(os.read(receiver.fileno(), 1 << 20))

    library.others = [drain] * 2000  # who waits to write lets it run, as often as there is no room
    sender.send_bytes(message)
    drain()
    assert b"".join(got)[4:] == message
    receiver.close()
    sender.close()


def test_a_wait_that_is_too_long_ends_in_time(library):
    receiver, sender = polyproc.Pipe()
    assert not polyproc.Event().wait(0.05)
    assert not receiver.poll(0.05)
    assert ready([receiver.fileno()], 0.05) == []
    with pytest.raises(polyproc.queues.Empty):
        polyproc.Queue().get(timeout=0.05)
    pause(0.02)
    assert library.slept
    sender.close()
    receiver.close()


def test_what_another_greenlet_raises_in_who_waits_comes_through(library):
    def late():
        raise TimeoutError("of a greenlet")

    receiver, sender = polyproc.Pipe()
    for attend in (polyproc.Event().wait, polyproc.Queue().get, receiver.recv):
        library.slept.clear()
        library.others.append(late)
        with pytest.raises(TimeoutError, match="of a greenlet"):
            attend()
    sender.close()
    receiver.close()


def test_a_process_is_joined_while_others_run(library):
    event = polyproc.Event()
    process = polyproc.get_context("fork").Process(target=event.wait, args=(SECONDS,))
    process.start()
    library.others.append(event.set)
    process.join(SECONDS)
    assert process.exitcode == 0
    process.close()


@pytest.mark.parametrize("lacks", ["a hub", "another greenlet"])
def test_a_thread_without_greenlets_waits_in_the_kernel(library, lacks):
    if lacks == "a hub":
        library.hub = None
    else:
        library.current = library.hub
    receiver, sender = polyproc.Pipe()
    assert not polyproc.Event().wait(0.02)
    assert not receiver.poll(0.02)
    assert not library.slept
    sender.close()
    receiver.close()


def test_modules_own_functions_are_had_whatever_was_replaced(monkeypatch):
    monkeypatch.delattr(select, "poll")
    monkeypatch.setattr(time, "sleep", None)
    assert greenlets.own_module("select").poll().poll(0) == []
    assert greenlets.own_module("time").sleep(0) is None
