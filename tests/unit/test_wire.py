"""A wire between an agent and its owner: whatever comes of a message that is not whole, it is not heard."""

import contextlib
import marshal
import random
import socket

from polyproc._hosts.wire import Wire

MESSAGES = [("started", 1, 4711), ("exited", 1, 0, b"left" * 10), ("data", 2), ("output", 2, 1), ("leaving",)]
PAYLOADS = [b"", b"", b"x" * 100, b"y" * 70_000, b""]


@contextlib.contextmanager
def wire_and_peer():
    """Yield a wire, and the socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as peer:
        wire = Wire(listening.accept()[0])
        try:
            yield wire, peer
        finally:
            wire.close()


def packed(message, payload):
    data = marshal.dumps(message)
    return len(data).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + data + payload


WHOLE = [packed(message, payload) for message, payload in zip(MESSAGES, PAYLOADS, strict=True)]


def hear_all(wire):
    """Return what was heard until the end, and what that was."""
    heard = []

    def hear(*message):
        heard.append(message[: -1 if isinstance(message[-1], memoryview) else None])

    try:
        while True:
            wire.wait()
            wire.receive(hear)
    except BaseException as error:
        return heard, error


def cuts():
    """Return how much of each message its sender has sent when it is killed."""
    for number, data in enumerate(WHOLE):
        for count in {0, 1, 3, 4, 7, 8, 9, len(data) // 2, len(data) - 1}:
            if count < len(data):
                yield number, count


def test_wire_hears_nothing_of_what_is_not_whole():
    for number, count in cuts():
        with wire_and_peer() as (wire, peer):
            peer.sendall(b"".join(WHOLE[:number]) + WHOLE[number][:count])
            peer.close()
            heard, error = hear_all(wire)
            assert heard == MESSAGES[:number]
            assert isinstance(error, EOFError)


def test_wire_ends_by_an_error_at_nonsense_and_what_came_before_was_heard():
    chosen = random.Random(11)
    for _ in range(50):
        with wire_and_peer() as (wire, peer):
            size = chosen.choice([1, 5, 30, 1000])
            nonsense = size.to_bytes(4, "big") + chosen.choice([0, 7]).to_bytes(4, "big") + chosen.randbytes(size)
            peer.sendall(b"".join(WHOLE) + nonsense)
            peer.close()
            heard, error = hear_all(wire)
            assert heard[: len(MESSAGES)] == MESSAGES
            assert isinstance(error, Exception)


def test_wire_waits_for_a_length_that_lies_no_longer_than_the_connection_lasts():
    with wire_and_peer() as (wire, peer):
        peer.sendall(b"\xff\xff\xff\xff" + b"\0\0\0\0" + b"some bytes")
        peer.close()
        assert isinstance(hear_all(wire)[1], EOFError)
