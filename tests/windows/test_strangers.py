"""Peers that do not come to the point, at the name of a pipe."""

import _winapi
import contextlib
import os
import pickle
import threading
import time

import pytest

import polyproc
from polyproc._platform import windows_kernel as kernel
from polyproc.connection import Client, Listener

KEY = b"key"
STRANGERS = {
    "silent": b"",
    "garbage": os.urandom(200),
    "a length without an end": (1 << 30).to_bytes(4, "big"),
    "a negative length": b"\xff" * 8,
    "half a message": (100).to_bytes(4, "big") + b"half",
    "a pickle": (40).to_bytes(4, "big") + pickle.dumps(print, 5).ljust(40, b"."),
}


class Door:
    """A listener that lets in whoever has the key, in a thread, and notes what else comes."""

    def __init__(self):
        self.listener = Listener(family="AF_PIPE", authkey=KEY)
        self.errors = []
        self.admitted = []
        self.thread = threading.Thread(target=self._let_in)
        self.thread.start()

    def _let_in(self):
        while True:
            try:
                connection = self.listener.accept()
            except polyproc.AuthenticationError as error:
                self.errors.append(error)
            except OSError:
                return
            else:
                self.admitted.append(connection)
                connection.send("in")

    def knock(self):
        access = _winapi.GENERIC_READ | _winapi.GENERIC_WRITE
        until = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                return _winapi.CreateFile(
                    self.listener.address, access, 0, _winapi.NULL, 3, _winapi.FILE_FLAG_OVERLAPPED, _winapi.NULL
                )
            assert time.monotonic() < until
            time.sleep(0.005)

    def close(self):
        self.listener.close()
        self.thread.join(20)
        assert not self.thread.is_alive()
        for connection in self.admitted:
            connection.close()


@pytest.fixture
def door():
    made = Door()
    yield made
    made.close()


def friend(door):
    with Client(door.listener.address, authkey=KEY) as connection:
        assert connection.poll(20)
        assert connection.recv() == "in"


def test_strangers_keep_no_friend_waiting_and_cost_no_thread(door):
    threads = threading.active_count()
    handles = []
    for said in STRANGERS.values():
        for _ in range(3):
            handles.append(door.knock())
            if said:
                kernel.write(handles[-1], said)
    began = time.monotonic()
    friend(door)
    assert time.monotonic() - began < 4.5  # the silent ones still have their time
    assert threading.active_count() == threads
    for handle in handles:
        kernel.close(handle)
    friend(door)
    assert len(door.errors) == 3  # the pickle was taken for an answer


def test_silent_stranger_is_dropped_in_time(door):
    handle = door.knock()
    kernel.read(handle, 256)  # the challenge
    began = time.monotonic()
    assert kernel.read(handle, 1) == b""
    assert time.monotonic() - began < 20
    kernel.close(handle)


def test_peers_that_come_and_go_at_once_break_nothing(door):
    for _ in range(30):
        kernel.close(door.knock())
    friend(door)


def test_peer_with_another_key_is_refused_and_told(door):
    with pytest.raises(polyproc.AuthenticationError):
        Client(door.listener.address, authkey=b"another")
    friend(door)
    assert len(door.errors) == 1


def test_listener_that_is_closed_wakes_who_accepts():
    door = Door()
    time.sleep(0.1)
    began = time.monotonic()
    door.close()
    assert time.monotonic() - began < 5
    with pytest.raises(OSError):
        Client(door.listener.address, authkey=KEY)


def test_accept_ends_in_time():
    with Listener(family="AF_PIPE", authkey=KEY) as listener, pytest.raises(polyproc.TimeoutError):
        listener.accept(timeout=0.1)
