"""A handler raises at any step of a portable connection, or of a peer's way in: nothing is torn, nobody left waiting."""

import contextlib
import gc
import os
import socket
import sys

import pytest

from polyproc._connection import admission, listener, portable_connection
from polyproc._connection import admission as handshake
from polyproc._connection.listener import Listener
from polyproc._connection.portable_connection import PortableConnection


class Alarm(Exception):
    pass


def raises_at(number, modules, act):
    """Raise Alarm before the instruction `number` that `act` runs of some modules; return whether there was one."""
    files = {module.__file__ for module in modules}
    left = number

    def on_step(frame, event, arg):
        nonlocal left
        if event == "opcode":
            left -= 1
            if left == 0:
                raise Alarm
        return on_step

    def on_call(frame, event, arg):
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        return on_step

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        act()
    except Alarm:
        pass
    finally:
        sys.settrace(before)
    return left <= 0


class Dribbling(PortableConnection):
    """One that gets rid of some bytes at once."""

    def _write(self, handle, header, data):
        return os.write(handle, (bytes(header) + bytes(data))[:7000])


def pair(kind=PortableConnection):
    first, second = socket.socketpair()
    return kind(first.detach()), kind(second.detach())


def received(connection):
    """Return all messages that are there."""
    found = []
    with contextlib.suppress(EOFError):
        while True:
            found.append(connection.recv_bytes())
    return found


@pytest.mark.parametrize("length", [0, 3, 20_000])
def test_what_is_received_is_whole(length):
    messages = [bytes([number]) * length for number in range(3)]
    number, goes_on = 0, True
    while goes_on:
        number += 1
        receiver, sender = pair()
        with receiver, sender:
            for message in messages:
                sender.send_bytes(message)
            sender.close()
            goes_on = raises_at(number, [portable_connection], receiver.recv_bytes)
            if not receiver.closed:
                assert received(receiver) in (messages, messages[1:])


@pytest.mark.parametrize(("kind", "length"), [(PortableConnection, 3), (Dribbling, 20_000)])
def test_what_is_sent_is_whole(kind, length):
    first, second = b"1" * length, b"2" * length
    number, goes_on = 0, True
    while goes_on:
        number += 1
        receiver, sender = pair(kind)
        with receiver, sender:
            goes_on = raises_at(number, [portable_connection], lambda: sender.send_bytes(first))  # noqa: B023
            if not sender.closed:
                sender.send_bytes(second)
                sender.close()
                assert received(receiver) in ([first, second], [second])


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_peer_whose_way_in_was_interrupted_is_let_in_or_closed(without_collector):
    number, goes_on = 0, True
    while goes_on:
        number += 1
        with Listener() as listening, socket.socket(socket.AF_UNIX) as peer:
            peer.connect(listening.address)
            goes_on = raises_at(number, [admission, handshake, listener], lambda: listening.accept(1).close())
            with contextlib.suppress(TimeoutError):
                listening.accept(0).close()
            peer.settimeout(10)
            assert peer.recv(1) == b""


@pytest.fixture
def without_collector():
    gc.disable()
    yield
    gc.enable()
