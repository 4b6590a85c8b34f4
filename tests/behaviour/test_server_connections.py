"""The encrypted connections of handles to the server of their objects: records, interruptions, and peers that lie."""

import os
import pickle
import random
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from polyproc._hosts.certificate import make_certificate
from polyproc._hosts.server_connection import link_of
from polyproc._hosts.wire import encrypted

IN_TIME = 30


@pytest.fixture
def links():
    """Two ends of an encrypted connection to a server of objects, and the socket of the first."""
    certificate = make_certificate()
    here, there = socket.socketpair()
    with ThreadPoolExecutor(1) as other:
        accepted = other.submit(certificate.server_context().wrap_socket, there, server_side=True)
        sock = encrypted(here, certificate.fingerprint)
        first, second = link_of(sock, True), link_of(accepted.result(IN_TIME), True)
    yield first, second, sock
    first.close()
    second.close()


def test_server_connections_messages_are_found_in_whatever_records_they_come(links):
    first, second, sock = links
    chosen = random.Random(7)
    for _ in range(40):
        objects = [chosen.randbytes(chosen.choice([0, 1, 200, 12_000])) for _ in range(4)]
        data = b"".join(len(packed).to_bytes(4, "big") + packed for packed in map(pickle.dumps, objects))
        while data:
            count = chosen.choice([1, 3, 5, 100, 16_000])
            sock.sendall(data[:count])
            data = data[count:]
        assert [second.recv() for _ in objects] == objects
    sock.sendall((3).to_bytes(4, "big") + b"abc" + (2).to_bytes(4, "big") + b"de")
    assert second.recv_bytes() == b"abc"
    assert second.poll(0)
    assert second.recv_bytes(10) == b"de"
    assert not second.poll(0)
    large = os.urandom(1 << 20)
    sender = threading.Thread(target=first.send, args=(large,))
    sender.start()
    assert second.recv() == large
    sender.join()


def test_server_connections_interrupted_wait_for_a_message_loses_nothing(links, monkeypatch):
    first, second, _ = links

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(3):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                second.recv()
    finally:
        signal.signal(signal.SIGALRM, before)
    first.send("the message")
    assert second.recv() == "the message"


def test_server_connections_half_a_message_is_the_end_of_its_connection(links):
    _, second, sock = links
    sock.sendall((100).to_bytes(4, "big") + b"half of it")
    socket.socket.shutdown(sock, socket.SHUT_RDWR)
    with pytest.raises((EOFError, OSError)):
        second.recv()
    assert second.closed


@pytest.mark.parametrize("sizes", [[1 << 62], [1], [-1], [5, 1 << 40]], ids=["many", "fewer", "all", "large"])
def test_server_connections_sizes_that_lie_are_refused(links, sizes):
    """Of a message that says how many buffers come: sizes that are not there, and memory that nobody has."""
    first, second, _ = links
    first.send_bytes(b"\0" + b"".join(size.to_bytes(8, "big", signed=True) for size in sizes))
    with pytest.raises((OSError, MemoryError)):
        second.recv()
    assert second.closed
