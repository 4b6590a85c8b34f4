"""Pipe and Connection, wait(), and what can be sent, on each backend."""

import array
import contextlib
import errno
import os
import random
import signal
import socket
import struct
import threading
import time

import pytest

import polyproc
from conftest import eventually
from polyproc import BufferTooShort
from polyproc.connection import Connection, Pipe, wait
from support import carrying


@pytest.fixture(params=[True, False], ids=["duplex", "one-way"])
def ends(request):
    receiver, sender = Pipe(request.param)
    with receiver, sender:
        yield receiver, sender


def sent_by_thread(sender, *messages):
    thread = threading.Thread(target=lambda: [sender.send_bytes(message) for message in messages])
    thread.start()
    return thread


@pytest.mark.parametrize("size", [0, 1, 4, 100, 65_536, 65_537, 300_000, 5_000_000])
def test_bytes_of_every_size(ends, size):
    receiver, sender = ends
    message = os.urandom(size)
    thread = sent_by_thread(sender, message, b"next")
    assert receiver.recv_bytes() == message
    assert receiver.recv_bytes() == b"next"
    thread.join()


@pytest.mark.parametrize("item", [None, 1, "text", (1, [2.5, {"k": b"v"}]), {1, 2}, range(3), list(range(5000))])
def test_objects(ends, item):
    receiver, sender = ends
    sender.send(item)
    assert receiver.recv() == item


def test_the_standard_librarys_format():
    """Either end may be the standard library's: 4 bytes big-endian, or -1 and 8 bytes."""
    ours, theirs = socket.socketpair()
    with theirs, Connection(ours.detach()) as connection:
        connection.send_bytes(b"abc")
        assert theirs.recv(100) == b"\0\0\0\x03abc"
        theirs.sendall(b"\0\0\0\x02hi" + struct.pack("!iQ", -1, 5) + b"large" + struct.pack("!i", 0))
        assert [connection.recv_bytes() for _ in range(3)] == [b"hi", b"large", b""]


def test_parts_of_buffers():
    receiver, sender = Pipe()
    with receiver, sender:
        sender.send_bytes(array.array("i", [1, 2, 3]))
        assert receiver.recv_bytes() == array.array("i", [1, 2, 3]).tobytes()
        sender.send_bytes(b"abcdef", 2)
        sender.send_bytes(bytearray(b"abcdef"), offset=1, size=3)
        assert receiver.recv_bytes() + receiver.recv_bytes() == b"cdefbcd"
        for args, text in (
            ((b"abc", -1), "offset is negative"),
            ((b"abc", 4), "buffer length < offset"),
            ((b"abc", 1, -1), "size is negative"),
            ((b"abc", 1, 3), r"buffer length < offset \+ size"),
        ):
            with pytest.raises(ValueError, match=text):
                sender.send_bytes(*args)
        target = array.array("B", bytes(8))
        sender.send_bytes(b"12345")
        assert receiver.recv_bytes_into(target, 2) == 5
        assert target.tobytes() == b"\0\x0012345\0"
        sender.send_bytes(b"too long for it")
        with pytest.raises(BufferTooShort) as caught:
            receiver.recv_bytes_into(target)
        assert caught.value.args == (b"too long for it",)
        for offset in (-1, 9):
            with pytest.raises(ValueError, match="offset"):
                receiver.recv_bytes_into(target, offset)
        with pytest.raises((TypeError, BufferError)):
            receiver.recv_bytes_into(b"readonly")


def test_directions_and_closing():
    receiver, sender = Pipe(False)
    assert (receiver.readable, receiver.writable, sender.readable, sender.writable) == (True, False, False, True)
    with pytest.raises(OSError, match="connection is read-only"):
        receiver.send(1)
    with pytest.raises(OSError, match="connection is write-only"):
        sender.recv()
    sender.send("last")
    sender.close()
    sender.close()
    assert sender.closed
    assert receiver.recv() == "last"
    assert receiver.poll()
    for receive in (receiver.recv, receiver.recv_bytes, lambda: receiver.recv_bytes_into(bytearray(9))):
        with pytest.raises(EOFError):
            receive()
    receiver.close()
    for act in (receiver.recv, receiver.fileno, receiver.poll, lambda: sender.send(1)):
        with pytest.raises(OSError, match="handle is closed"):
            act()
    receiver, sender = Pipe()
    receiver.close()
    with pytest.raises(BrokenPipeError):
        for _ in range(3):
            sender.send(b"nobody")
    sender.close()
    for handle in (-1, "x"):
        with pytest.raises((ValueError, TypeError)):
            Connection(handle)
    with pytest.raises(ValueError, match="at least one"):
        Connection(1, False, False)


def test_a_limit_on_what_is_received():
    for duplex in (True, False):
        receiver, sender = Pipe(duplex)
        with receiver, sender:
            sender.send_bytes(b"x" * 10)
            assert receiver.recv_bytes(10) == b"x" * 10
            sender.send_bytes(b"x" * 11)
            with pytest.raises(OSError, match="bad message length"):
                receiver.recv_bytes(10)
            with pytest.raises(OSError, match="closed|write-only"):
                receiver.recv_bytes()
            with pytest.raises(ValueError, match="negative"):
                sender.recv_bytes(-1) if duplex else Pipe()[0].recv_bytes(-1)


@pytest.mark.parametrize(
    "header", [struct.pack("!i", -2), struct.pack("!iQ", -1, 2**63), struct.pack("!iQ", -1, 2**62), b"\x80\0\0\0"]
)
def test_a_header_that_lies(header):
    ours, theirs = socket.socketpair()
    with theirs, Connection(ours.detach()) as connection:
        theirs.sendall(header + b"x" * 100)
        with pytest.raises((OSError, MemoryError, OverflowError)):
            connection.recv_bytes()
        assert connection.closed


def test_an_end_in_the_middle():
    for part in (b"\0\0", struct.pack("!i", 10) + b"12345", struct.pack("!iQ", -1, 10)[:7]):
        ours, theirs = socket.socketpair()
        with Connection(ours.detach()) as connection:
            theirs.sendall(part)
            theirs.close()
            with pytest.raises(EOFError, match="got end of file during message"):
                connection.recv_bytes()


@pytest.mark.parametrize("seed", range(20))
def test_nonsense_from_a_peer(seed):
    """Random bytes raise something of ours, or end, or are a message: never more than was announced, never a hang."""
    chance = random.Random(seed)
    ours, theirs = socket.socketpair()
    with theirs, Connection(ours.detach()) as connection:
        theirs.sendall(b"".join(chance.choice((chance.randbytes(4), b"\0\0\0\x03abc", b"\xff")) for _ in range(50)))
        theirs.shutdown(socket.SHUT_WR)
        with contextlib.suppress(EOFError, OSError, MemoryError, OverflowError):
            for _ in range(100):
                connection.recv_bytes(1000)
            raise AssertionError("there was more than was sent")


def test_poll():
    receiver, sender = Pipe()
    with receiver, sender:
        assert not receiver.poll()
        assert not receiver.poll(-1)
        begin = time.monotonic()
        assert not receiver.poll(0.05)
        assert time.monotonic() - begin >= 0.05
        threading.Timer(0.05, sender.send, ["late"]).start()
        assert receiver.poll(None)
        assert receiver.recv() == "late"
        sender.send(1)
        assert receiver.poll(1e12)
        with pytest.raises(TypeError):
            receiver.poll("soon")


def interrupted(act, times=5):
    """Run `act` while a signal handler runs now and then; return its result."""
    heard = []
    before = signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        return act()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        assert len(heard) >= times


def test_signals_do_not_tear_messages():
    receiver, sender = Pipe()
    message = os.urandom(3_000_000)

    def slowly():
        for _ in range(3):
            time.sleep(0.15)
            found.append(sender.recv_bytes())
        sender.send_bytes(message)

    with receiver, sender:
        found = []
        thread = threading.Thread(target=slowly)
        thread.start()
        interrupted(lambda: [receiver.send_bytes(message) for _ in range(3)])
        assert receiver.recv_bytes() == message
        thread.join()
        assert found == [message] * 3


def test_an_exception_of_a_handler_comes_through():
    class Stop(Exception):
        pass

    def handler(*_):
        raise Stop

    receiver, sender = Pipe()
    with receiver, sender:
        before = signal.signal(signal.SIGALRM, handler)
        try:
            for act in (receiver.recv, receiver.recv_bytes, lambda: receiver.poll(None)):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with pytest.raises(Stop):
                    act()
            assert not receiver.closed  # nothing of a message had come
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Stop):
                sender.send_bytes(bytes(10_000_000))
            assert sender.closed  # a part is through: what came next would be taken for the rest
        finally:
            signal.signal(signal.SIGALRM, before)


def test_a_descriptor_that_does_not_block():
    receiver, sender = Pipe()
    with receiver, sender:
        os.set_blocking(receiver.fileno(), False)
        os.set_blocking(sender.fileno(), False)
        with pytest.raises(BlockingIOError):
            receiver.recv()
        thread = threading.Thread(target=lambda: found.append(receiver.recv_bytes()))
        found = []
        message = os.urandom(2_000_000)

        def send():
            sender.send_bytes(message)

        sending = threading.Thread(target=send)
        sending.start()
        assert receiver.poll(30)
        thread.start()
        sending.join(30)
        thread.join(30)
        assert found == [message]


def start(ctx, target, *args):
    process = ctx.Process(target=target, args=args)
    process.start()
    return process


def receive_all(connection):
    while (thing := connection.recv()) is not None:
        if isinstance(thing, socket.socket):
            thing.sendall(b"socket")
            thing.close()
        elif isinstance(thing, Connection):
            if thing.writable:
                thing.send("connection")
            thing.close()
        else:
            connection.send(thing.read())
            thing.close()


def test_sockets_files_and_connections_are_sent(ctx, tmp_path):
    here, there = ctx.Pipe()
    receiver = start(ctx, receive_all, there)
    there.close()
    for duplex in (True, False):
        end, other = ctx.Pipe(duplex)
        here.send(other)
        other.close()
        assert end.recv() == "connection"
        with pytest.raises(EOFError):
            end.recv()
        end.close()
    one, two = socket.socketpair()
    here.send({"socket": two}["socket"])
    two.close()
    assert one.recv(100) == b"socket"
    assert one.recv(100) == b""
    one.close()
    path = tmp_path / "file"
    path.write_text("first\nsecond\nthird é\n", encoding="utf-8")
    for mode, rest in (("r", "second\nthird é\n"), ("rb", "second\nthird é\n".encode())):
        with open(path, mode) as file:
            file.readline()
            here.send(file)
            assert here.recv() == rest
    here.send(None)
    receiver.join(30)
    assert receiver.exitcode == 0
    here.close()


def end_process(connection):
    handle = connection.recv()
    connection.send((handle.pid, handle.name, handle.is_alive(), handle.join(0.01)))
    handle.terminate()
    connection.send((handle.join(30), handle.is_alive(), "ended" in repr(handle)))
    handle.kill()


def test_a_process_is_sent_as_a_handle(ctx):
    here, there = ctx.Pipe()
    process = ctx.Process(target=time.sleep, args=(60,), name="sleeper")
    process.start()
    other = start(ctx, end_process, there)
    here.send(process)
    assert here.recv() == (process.pid, "sleeper", True, False)
    assert here.recv() == (True, False, True)
    process.join()
    assert process.exitcode == -signal.SIGTERM
    other.join(30)
    assert other.exitcode == 0
    here.close()
    there.close()


def test_what_was_sent_can_be_received_once():
    import pickle

    from polyproc.reduction import ForkingPickler

    end, other = Pipe()
    with end, other:
        data = bytes(ForkingPickler.dumps(other))
        with pickle.loads(data) as again:
            again.send("through a duplicate")
            assert end.recv() == "through a duplicate"
        with pytest.raises(RuntimeError, match="not there any more"):
            pickle.loads(data)


def test_the_sender_has_ended():
    import pickle

    ctx = polyproc.get_context("fork")
    here, there = ctx.Pipe()
    child = start(ctx, send_pickled_connection, there)
    data = here.recv_bytes()
    child.join()
    with pytest.raises(RuntimeError, match="has ended"):
        pickle.loads(data)
    here.close()
    there.close()


def send_pickled_connection(connection):
    from polyproc.reduction import ForkingPickler

    connection.send_bytes(bytes(ForkingPickler.dumps(Pipe()[0])))


def test_wait_for_everything(ctx):
    receiver, sender = ctx.Pipe()
    event = ctx.Event()
    one, two = socket.socketpair()
    process = ctx.Process(target=time.sleep, args=(60,))
    process.start()
    with receiver, sender, one, two:
        things = [receiver, event, one, process, process.sentinel]
        assert wait(things, 0.05) == []
        assert wait([], 0.01) == []
        event.set()
        assert wait(things, 30) == [event]
        event.clear()
        two.send(b"x")
        assert wait(things) == [one]
        threading.Timer(0.05, event.set).start()
        assert wait([receiver, event], 30) == [event]
        event.clear()
        sender.close()
        process.kill()
        eventually(lambda: wait(things, 0) == [receiver, one, process, process.sentinel])
        process.join()
    for nonsense in (-1, object()):
        with pytest.raises((ValueError, AttributeError)):
            wait([nonsense])


def test_wait_for_a_thousand():
    pairs = []
    try:
        for _ in range(1000):
            pairs.append(Pipe(False))
    except OSError as error:  # the limit on descriptors is low here
        assert error.errno == errno.EMFILE
    receivers = [receiver for receiver, _ in pairs]
    assert wait(receivers, 0) == []
    for index in (7, len(pairs) - 1):
        pairs[index][1].send(index)
    assert wait(receivers, 30) == [receivers[7], receivers[-1]]
    for receiver, sender in pairs:
        receiver.close()
        sender.close()


def test_processes_talk(ctx):
    queue, results = ctx.Queue(), ctx.Queue()
    process = start(ctx, carrying.echo, queue, results)
    for item in ("a", ("b", 2)):
        queue.put(item)
        assert results.get(timeout=30) == item
    queue.put(None)
    process.join(30)
