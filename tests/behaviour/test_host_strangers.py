"""Strangers at the doors of a remote context: where agents call, and where its objects are.

Whatever they say, none is let in, nothing of theirs is unpickled, and who is expected comes in beside them.
"""

import contextlib
import os
import pickle
import socket
import struct
import threading
import time

import pytest

import polyproc
from polyproc.connection import Client, answer_challenge
from support import on_hosts
from support.lines import Line, context_of, started

IN_TIME = 30


class Bomb:
    """Unpickled, it leaves a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def dial(address):
    return socket.create_connection(address[:2], 10)


def framed(data):
    return struct.pack("!i", len(data)) + data


def say_nothing(sock, bomb):
    time.sleep(0.3)


def say_garbage(sock, bomb):
    sock.sendall(os.urandom(4096))


def promise_much(sock, bomb):
    sock.sendall(struct.pack("!i", 0x7FFFFFFF) + b"x" * 2000)


def promise_more(sock, bomb):
    sock.sendall(struct.pack("!iQ", -1, 1 << 62) + b"x" * 2000)


def promise_a_negative_length(sock, bomb):
    sock.sendall(struct.pack("!iQ", -1, (1 << 64) - 1))


def send_a_pickle(sock, bomb):
    sock.sendall(framed(bomb) + framed(bomb))


def send_a_pickle_as_an_answer(sock, bomb):
    sock.recv(1024)
    sock.sendall(framed(bomb) * 3)


def ask_as_a_browser(sock, bomb):
    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    sock.recv(1024)


def begin_tls(sock, bomb):
    sock.sendall(b"\x16\x03\x01\x02\x00\x01" + bytes(300))


def drip(sock, bomb):
    for _ in range(20):
        sock.sendall(b"x")
        time.sleep(0.02)


def answer_with_its_own_challenge(sock, bomb):
    """Reflect what the other side says."""
    for _ in range(3):
        data = sock.recv(1024)
        sock.sendall(data)


def read_nothing(sock, bomb):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sock.sendall(os.urandom(65536))
    time.sleep(0.2)


def leave_with_a_reset(sock, bomb):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


ACTS = [
    say_nothing,
    say_garbage,
    promise_much,
    promise_more,
    promise_a_negative_length,
    send_a_pickle,
    send_a_pickle_as_an_answer,
    ask_as_a_browser,
    begin_tls,
    drip,
    answer_with_its_own_challenge,
    read_nothing,
    leave_with_a_reset,
]


def come(address, act, bomb):
    with contextlib.suppress(OSError), dial(address) as sock:
        act(sock, bomb)


def all_at_once(address, bomb):
    """Have all strangers come at once, each of them twice; return their threads."""
    threads = [threading.Thread(target=come, args=(address, act, bomb)) for act in ACTS for _ in range(2)]
    for thread in threads:
        thread.start()
    return threads


def ended(threads):
    for thread in threads:
        thread.join(IN_TIME)
        assert not thread.is_alive()


def test_host_strangers_are_refused_where_agents_call(tmp_path):
    bomb, crowd = pickle.dumps(Bomb(str(tmp_path / "trace"))), []

    def act(invitation):
        crowd.extend(all_at_once(tuple(invitation["dial"][0]), bomb))

    with context_of(Line(act)) as context:
        assert started(context, on_hosts.where).result(IN_TIME) == "there"
    ended(crowd)
    assert not (tmp_path / "trace").exists()


def test_host_strangers_are_refused_where_objects_are(hosts, tmp_path):
    bomb = pickle.dumps(Bomb(str(tmp_path / "trace")))
    address = hosts._nodes.objects().address
    made = hosts.Queue()
    crowd = all_at_once(address, bomb)
    process = started(hosts, on_hosts.put_all, made, range(100))
    assert [made.get(timeout=IN_TIME) for _ in range(100)] == list(range(100))
    process.join(IN_TIME)
    ended(crowd)
    assert not (tmp_path / "trace").exists()


def test_host_strangers_cannot_replay_what_they_heard(hosts):
    """What one has said and proved is no proof the next time: each challenge is another."""
    address, heard = hosts._nodes.objects().address, []
    key = bytes(polyproc.current_process().authkey)

    class Heard:
        def __init__(self, connection):
            self.connection, self.recv_bytes = connection, connection.recv_bytes

        def send_bytes(self, data):
            heard.append(bytes(data))
            self.connection.send_bytes(data)

    with Client(address[:2]) as connection:
        answer_challenge(Heard(connection), key)
    with Client(address[:2]) as connection:
        connection.recv_bytes()
        for data in heard:
            connection.send_bytes(data)
        with pytest.raises((EOFError, OSError, polyproc.AuthenticationError)):
            answer_challenge(connection, key)
            pytest.fail("it was let in")
    made = hosts.Queue()
    started(hosts, on_hosts.put_all, made, [1]).join(IN_TIME)
    assert made.get(timeout=IN_TIME) == 1
