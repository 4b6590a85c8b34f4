"""SIGKILL at every step of a message that is put before its receiver (csrc/core/pp_handoff.h)."""

import os
import signal

import pytest

from support.crashes import SOON, ctx, die_at, ended, helper, killed, pytestmark  # noqa: F401


def connected(duplex):
    receiving, sending = ctx.Pipe(duplex)
    sending.send("first")  # from now on the receiving end knows that one of ours sends
    assert receiving.recv() == "first"
    return receiving, sending


@pytest.fixture(params=[True, False], ids=["socket", "pipe"])
def ends(request):
    with (pair := connected(request.param))[0], pair[1]:
        yield pair


def receive_for_ever(receiving):
    while True:
        receiving.recv()


def stop_and_expect(receiving, expected):
    import polyproc._core as core

    core.crash_at("stop:handoff.asleep")
    assert [receiving.recv() for _ in expected] == [*expected]


def stopped_receiver(receiving, *expected):
    """Return a process that has said that it waits, and is stopped there."""
    process = helper(stop_and_expect, receiving, expected)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    return process


def still_works(receiving, sending):
    for number in range(3):
        sending.send(number)
    assert [receiving.recv() for _ in range(3)] == [0, 1, 2]
    other = stopped_receiver(receiving, "a", "b")
    sending.send("a")
    sending.send("b")
    os.kill(other.pid, signal.SIGCONT)
    ended(other)


@pytest.mark.parametrize("point", ["handoff.looking", "handoff.asleep"])
def test_a_receiver_dies_as_it_waits(ends, point):
    receiving, sending = ends
    killed(die_at(point, receiving.recv))
    sending.send("still there")
    assert receiving.recv() == "still there"
    still_works(receiving, sending)


def test_a_receiver_dies_with_what_it_has_taken(ends):
    receiving, sending = ends
    process = die_at("handoff.taken", receive_for_ever, receiving)
    count = 0
    while process.exitcode is None:  # one will come when it waits
        sending.send(count)
        count += 1
        process.join(0.01)
    killed(process)
    sending.send(None)
    left = [*iter(receiving.recv, None)]
    assert left == [*range(count - len(left), count)]
    assert len(left) < count
    still_works(receiving, sending)


def test_what_was_put_before_a_receiver_that_is_killed_goes_to_the_next(ends):
    receiving, sending = ends
    process = stopped_receiver(receiving, "never")
    sending.send("handed over")
    os.kill(process.pid, signal.SIGKILL)
    killed(process)
    assert receiving.recv() == "handed over"
    still_works(receiving, sending)


@pytest.mark.parametrize("point, heard", [("handoff.claimed", ("second",)), ("handoff.told", ("first", "second"))])
def test_a_sender_dies_as_it_hands_over(ends, point, heard):
    receiving, sending = ends
    other = stopped_receiver(receiving, *heard)
    killed(die_at(point, sending.send, "first"))
    sending.send("second")
    os.kill(other.pid, signal.SIGCONT)
    ended(other)
    still_works(receiving, sending)


@pytest.mark.parametrize("waits", [True, False])
def test_a_sender_dies_before_it_writes(ends, waits):
    receiving, sending = ends
    other = stopped_receiver(receiving, "second") if waits else None
    killed(die_at("handoff.counted", sending.send, "x" * 1000))
    sending.send("second")
    if other is None:
        assert receiving.recv() == "second"
    else:
        os.kill(other.pid, signal.SIGCONT)
        ended(other)
    sending.send("third")
    sending.send("fourth")
    assert [receiving.recv(), receiving.recv()] == ["third", "fourth"]
