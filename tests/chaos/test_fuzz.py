"""Nonsense where a peer or another process writes: it raises something that is documented, and never crashes or hangs."""

import contextlib
import mmap
import socket
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import polyproc
from polyproc import AuthenticationError
from polyproc._base import native as _native
from polyproc._connection.auth import answer_steps, deliver_steps
from polyproc.connection import Connection

quickly = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

frames = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.integers(-(2**31), 2**31 - 1).map(lambda n: struct.pack("!i", n)),
        st.binary(max_size=50).map(lambda b: struct.pack("!i", len(b)) + b),
        st.integers(0, 2**64 - 1).map(lambda n: struct.pack("!iQ", -1, n)),
    ),
    max_size=8,
)


@quickly
@given(frames, st.sampled_from(["recv_bytes", "recv_bytes_into", "limited"]))
def test_frames(parts, how):
    ours, theirs = socket.socketpair()
    with theirs, Connection(ours.detach()) as connection:
        data = b"".join(parts)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        received = 0
        with contextlib.suppress(EOFError, OSError, MemoryError, OverflowError, polyproc.BufferTooShort):
            while received <= len(data):
                if how == "recv_bytes":
                    received += 4 + len(connection.recv_bytes())
                elif how == "limited":
                    received += 4 + len(connection.recv_bytes(20))
                else:
                    received += 4 + connection.recv_bytes_into(bytearray(40))
        assert received <= len(data)


@quickly
@given(st.lists(st.one_of(st.binary(max_size=80), st.sampled_from([b"#WELCOME#", b"#CHALLENGE#{md5}"])), max_size=4))
def test_handshakes(messages):
    """Who does not know the key is never let in: that would be StopIteration."""
    steps = deliver_steps(b"key")
    with contextlib.suppress(AuthenticationError):
        for message in messages:
            while next(steps) is not None:
                pass
            steps.send(message)
    steps = answer_steps(b"key")
    next(steps)
    for message in messages[:1]:
        with contextlib.suppress(AuthenticationError):
            assert b"key" not in steps.send(message)


def page_of(queue):
    """Map the page of a queue as another process of the same user could."""
    id, offset = queue._where()
    fd, _ = polyproc._core.hold(id)
    try:
        return mmap.mmap(fd, 1 << 20), offset
    finally:
        polyproc._core.detach(id)


@pytest.mark.skipif(not _native.native, reason="the portable queue is a pipe")
@quickly
@given(
    st.lists(st.tuples(st.integers(0, 1500), st.binary(min_size=1, max_size=16)), min_size=1, max_size=5),
    st.integers(0, 3),
)
def test_pages_of_queues(changes, maxsize):
    queue = polyproc.JoinableQueue(maxsize)
    queue.put(1)
    queue.put_nowait(b"x" * 100_000) if maxsize != 1 else None
    page, start = page_of(queue)
    kind = struct.calcsize("<IIQIIII")
    with page:
        for offset, data in changes:
            if not start + kind - len(data) < start + offset < start + kind + 4:  # what kind of object it is
                page[start + offset : start + offset + len(data)] = data
    for act in (
        lambda: queue.put(2, timeout=0.01),
        lambda: queue.get(timeout=0.01),
        lambda: queue.get(timeout=0.01),
        lambda: queue.put(b"y" * 100_000, timeout=0.01),
        queue.task_done,
        queue.qsize,
        queue.full,
        queue.empty,
        queue._slot_memory,
        queue._unfinished,
        lambda: queue.get(timeout=0.01),
    ):
        with contextlib.suppress(Exception, polyproc.queues.Empty, polyproc.queues.Full, polyproc.queues.ShutDown):
            act()
    queue.close()


@pytest.mark.skipif(not _native.native, reason="the portable queue is a pipe")
@quickly
@given(st.sampled_from([3, 4]), st.binary(max_size=60))
def test_records_of_large_messages(kind, record):
    """A record that names a slot it does not have, or lengths that are not."""
    queue = polyproc.Queue()
    with contextlib.suppress(ValueError):
        slot = int.from_bytes(record[:4], "little")
        queue._put_packed(kind, record, slot if slot < 32768 else 0, -1, 0)
        with contextlib.suppress(Exception):
            queue.get(timeout=0.01)
    queue.put(1)
    with contextlib.suppress(Exception):  # a record that cannot be read stays in its way: it is said each time
        assert queue.get(timeout=1) == 1
    queue.close()
