"""The pool's end of a pipe to a worker: it never blocks, and takes messages as they come, piece by piece."""

import errno
import os
import pickle
import select
import threading

import pytest

from polyproc._workers import pipe_channels
from polyproc._workers.pipe_channels import Channels, WorkerChannel, _Incoming, pack
from polyproc._workers.worker import DONE, to_bytes

LARGE = b"x" * 3_000_000


def said(value):
    return DONE, value, 0.0


@pytest.fixture
def channels():
    made = Channels()
    yield made
    for number in list(made._lines):
        made._lines[number].release()
    made.close()


def pieces(sizes, data):
    """Yield `data` cut into pieces of these sizes, the last one as long as needed."""
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size
    yield data[start:]


@pytest.mark.parametrize("cut", range(9))
@pytest.mark.parametrize("length", [0, 3])
def test_a_message_that_comes_in_two_pieces_is_whole(cut, length):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    message = bytes(range(length))
    incoming, found = _Incoming(), []
    try:
        for data in pieces([cut], (length.to_bytes(4, "big") + message) * 2):
            os.write(writer, data)
            while True:
                try:
                    found.append(incoming.read(reader))
                except BlockingIOError:
                    break
    finally:
        os.close(reader)
        os.close(writer)
    assert [taken for taken in found if taken] == [(True, message)] * 2


def test_a_message_for_which_there_is_no_memory_is_skipped(monkeypatch):
    def take(*args):
        if args and type(args[0]) is int and args[0] > 65536:
            raise MemoryError
        return bytearray(*args)

    reader, writer = os.pipe()
    message = LARGE
    data = len(message).to_bytes(4, "big") + message + (2).to_bytes(4, "big") + b"ab"
    thread = threading.Thread(target=os.write, args=(writer, data))
    thread.start()
    monkeypatch.setattr(pipe_channels, "bytearray", take, raising=False)
    incoming, found = _Incoming(), []
    while len(found) < 2:
        if taken := incoming.read(reader):
            found.append(taken)
    thread.join()
    os.close(reader)
    os.close(writer)
    assert not found[0][0]
    assert type(found[0][1]) is MemoryError
    assert found[1] == (True, b"ab")


def test_a_worker_that_reads_nothing_holds_nobody_up(channels):
    slow, quick = channels.open(1), channels.open(2)
    slow.send(7, pack(LARGE)[0])
    slow.finish()
    assert slow.has_rest
    quick.send(8, pack("soon")[0])
    assert quick.end.get() == (8, True, "soon")
    quick.end.put(said("done"))
    assert channels.take(20) == (2, True, said("done"))
    assert channels.take(0.01) is None
    assert slow.left_over() == ([0], 7)
    assert not slow.has_rest


def test_what_a_pipe_did_not_take_goes_as_its_worker_reads(channels):
    line, found = channels.open(1), []
    for number in range(1, 4):
        line.send(number, pack(LARGE)[0])
    line.finish()
    reader = threading.Thread(target=lambda: found.extend(line.end.get() for _ in range(4)))
    reader.start()
    while reader.is_alive():
        channels.take(0.05)
    reader.join()
    assert found == [(1, True, LARGE), (2, True, LARGE), (3, True, LARGE), (0, True, None)]
    assert line.left_over() == ([], 0)


def test_a_part_of_a_result_holds_nobody_up(channels):
    slow, quick = channels.open(1), channels.open(2)
    data = to_bytes(said("late"), pickle.dumps)
    whole = len(data).to_bytes(4, "big") + data
    os.write(slow.end.connection.fileno(), whole[:9])
    assert channels.take(0.01) is None
    quick.end.put(said("soon"))
    assert channels.take(20) == (2, True, said("soon"))
    os.write(slow.end.connection.fileno(), whole[9:])
    assert channels.take(20) == (1, True, said("late"))
    os.write(slow.end.connection.fileno(), whole[:9])
    channels.note(1)  # it has ended, and a copy of it holds its end of the pipe
    assert channels.take(20) == (1, True, None)


@pytest.mark.parametrize("error", [errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get)
def test_what_the_system_refuses_to_send_is_told_or_tried_again(channels, monkeypatch, error):
    refuses, writev = True, os.writev

    def write(*args):
        if refuses:
            raise OSError(error, os.strerror(error))
        return writev(*args)

    monkeypatch.setattr(pipe_channels.os, "writev", write)
    line = channels.open(1)
    with pytest.raises(OSError, match=os.strerror(error)):
        line.send(1, pack("refused")[0])
    line.finish()
    assert channels.take(0.1) is None
    refuses = False
    while line.has_rest:
        channels.take(0.05)
    assert line.end.get() == (0, True, None)


def test_who_is_broken_off_in_the_middle_of_a_message_sends_no_more(channels, monkeypatch):
    writev = os.writev

    def write(*args):
        writev(*args)
        raise KeyboardInterrupt

    line = channels.open(1)
    with monkeypatch.context() as patched:
        patched.setattr(pipe_channels.os, "writev", write)
        with pytest.raises(KeyboardInterrupt):
            line.send(1, pack("torn")[0])
    line.send(2, pack("late")[0])
    assert not line.has_rest
    assert line.end.get() == (1, True, "torn")
    assert not select.select([line.end.connection], [], [], 0)[0]


def test_a_dead_worker_takes_nothing(channels):
    line = channels.open(1)
    line.release()
    line.send(1, pack("late")[0])
    assert not line.has_rest
    assert line.left_over() == ([1], 0)
    assert channels.take(0.01) is None


def test_a_channel_is_made_for_one_worker():
    line = WorkerChannel(lambda: None)
    line.release()
    line.close()
    with pytest.raises(OSError, match="closed"):
        line.receive()
