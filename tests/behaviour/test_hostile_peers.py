"""Peers that are programs of their own, up to no good: nobody is let in, kept waiting, or made to pay."""

import contextlib
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import pytest

import polyproc
from conftest import eventually, plain_fork
from polyproc import AuthenticationError
from polyproc._connection import admission, auth
from polyproc._connection import admission as handshake
from polyproc._connection.sharer import sharer
from polyproc._forkserver import client as fork_server
from polyproc.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from support.peers import hostile

KEY = b"the key"


class Alarm(BaseException):
    """What a handler raises at a random moment."""


def accepted(listener):
    """Return the next connection, whatever others do meanwhile."""
    while True:
        with contextlib.suppress(AuthenticationError):
            return listener.accept()


def good_peer(address, pause=0.0):
    """Say something good, with a pause before each message, as from far away."""

    class Far:
        def __init__(self, connection):
            self.connection = connection
            self.recv_bytes = connection.recv_bytes

        def send_bytes(self, data):
            time.sleep(pause)
            self.connection.send_bytes(data)

    with Client(address) as connection:
        answer_challenge(Far(connection), KEY)
        deliver_challenge(Far(connection), KEY)
        connection.send("good")
        return connection.recv()


def in_thread(act, *args):
    thread = threading.Thread(target=act, args=args)
    thread.start()
    return thread


# -- exceptions in the middle of a handshake -----------------------------------------------------------------------


class OrdinaryAlarm(Exception):
    """The same, of an ordinary kind."""


class SystemAlarm(OSError):
    """The same, as a TimeoutError would be."""


def interrupted_at(number, files, act, error=Alarm):
    """Call `act` with an exception at the given line that is run of some files; say whether there were so many.

    It has to come out.
    """
    left = [number]

    def on_line(frame, event, arg):
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                raise error
        return on_line

    def on_call(frame, event, arg):
        return on_line if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        act()
    except error:
        return True
    finally:
        sys.settrace(before)
    assert left[0] > 0, f"an exception was swallowed at line {number}"
    return False


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("error", [Alarm, OrdinaryAlarm, SystemAlarm])
def test_an_exception_at_any_line_of_a_handshake_lets_nobody_in(error):
    """Neither the peer in whose handshake it came, nor another; who knows the key gets in after it."""
    files = {admission.__file__, auth.__file__, handshake.__file__}
    junk = struct.pack("!i", 8) + b"x" * 8
    number, goes_on = 0, True
    with Listener(("127.0.0.1", 0), authkey=KEY) as listener:

        def accept(seconds):
            with contextlib.suppress(AuthenticationError, TimeoutError):
                got = listener.accept(seconds)
                got.close()
                pytest.fail("somebody without the key was let in")

        while goes_on:
            number += 1
            with socket.create_connection(listener.address) as sock:
                sock.sendall(junk)
                goes_on = interrupted_at(number, files, lambda: accept(0.01), error)
                with contextlib.suppress(OSError):
                    sock.sendall(junk * 3)
                accept(0)
                accept(0)
        told = []
        thread = in_thread(lambda: told.append(good_peer(listener.address)))
        with accepted(listener) as connection:
            assert connection.recv() == "good"
            connection.send("thanks")
        thread.join()
        assert told == ["thanks"]
    assert number > 50


@pytest.mark.parametrize("side", [deliver_challenge, answer_challenge])
def test_an_exception_at_any_line_of_a_side_is_no_success(side):
    number, goes_on = 0, True
    while goes_on:
        number += 1
        ours, theirs = polyproc.Pipe()
        with ours, theirs:
            for _ in range(3):
                theirs.send_bytes(b"#CHALLENGE#" + b"x" * 8)

            def act(ours=ours):
                with contextlib.suppress(AuthenticationError):
                    side(ours, KEY)
                    pytest.fail("it succeeded")

            goes_on = interrupted_at(number, {auth.__file__}, act)
    assert number > 5


def test_a_side_that_is_over_and_did_not_succeed_is_no_success():
    def interrupted():
        yield b"#CHALLENGE#"
        return None

    ours, theirs = polyproc.Pipe()
    with ours, theirs, pytest.raises(AuthenticationError, match="interrupted"):
        auth._run(ours, interrupted())


@pytest.mark.parametrize("kind", [Alarm, ValueError, TimeoutError, ConnectionResetError, EOFError])
def test_what_a_handler_raises_in_a_handshake_reaches_who_accepts(monkeypatch, kind):
    """Also where a peer could have made us raise the same."""

    def on_signal(number, frame):
        raise kind("of the handler")

    def advance(peer):
        signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr(handshake.Handshake, "advance", advance)
    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        with (
            Listener(("127.0.0.1", 0), authkey=KEY) as listener,
            socket.create_connection(listener.address),
            pytest.raises(kind, match="of the handler"),
        ):
            listener.accept(5)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_handlers_that_raise_at_random_moments():
    """A peer without the key says pickles; had one been opened, this process would have ended."""
    chance = random.Random(4)

    def on_alarm(number, frame):
        raise Alarm

    before = signal.signal(signal.SIGALRM, on_alarm)
    good = 0
    try:
        with Listener(("127.0.0.1", 0), authkey=KEY) as listener, hostile(listener.address, "command"):
            client = in_thread(lambda: [good_peer_or_not(listener.address) for _ in range(20)])
            until = time.monotonic() + 2.5
            while time.monotonic() < until or (client.is_alive() and time.monotonic() < until + 60):
                connection = None  # one that an alarm came behind would leave its peer waiting
                with contextlib.suppress(Alarm, AuthenticationError, TimeoutError, OSError, EOFError):
                    try:
                        if time.monotonic() < until:
                            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.004))
                        connection = listener.accept(0.1)
                        signal.setitimer(signal.ITIMER_REAL, 0)
                        with connection:
                            assert connection.recv() == "good"
                            connection.send("thanks")
                            good += 1
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
            client.join()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert good


def good_peer_or_not(address):
    with contextlib.suppress(OSError, EOFError, AuthenticationError):
        good_peer(address)


@pytest.mark.parametrize("word", ["send", "receive"])
def test_an_exception_in_what_is_said_to_a_fork_server_mixes_up_no_children(monkeypatch, word):
    """An answer that was not heard is not taken for the next order's."""
    ours, theirs = fork_server.protocol.socketpair()
    made = fork_server.ForkServerClient(ours, os.getpid(), "nobody")
    made.order()
    made.order()
    for pid in (1, 2, 3):
        fork_server.protocol.send(theirs, (-1, 11, f"of {pid}", 0), [])

    def interrupted(*args):
        raise Alarm

    with monkeypatch.context() as patch, pytest.raises(Alarm):
        patch.setattr(fork_server.protocol, word, interrupted)
        if word == "send":
            made.order()
        made.collect()
    for act in (made.collect, made.order, made.receive):
        with pytest.raises(ConnectionError):
            act()
    made.abandon()
    theirs.close()


def test_starts_by_a_fork_server_after_one_that_was_interrupted(monkeypatch):
    ctx = polyproc.get_context("forkserver")

    def start():
        process = ctx.Process(target=os.getpid)
        process.start()
        assert process.result(60) == process.pid
        process.join()

    def interrupted(sock):
        raise Alarm

    for _ in range(2):
        start()
    with monkeypatch.context() as patch, pytest.raises(Alarm):
        patch.setattr(fork_server.protocol, "receive", interrupted)
        start()
    for _ in range(3):
        start()


# -- a listener ----------------------------------------------------------------------------------------------------

TROUBLE = ["silent", "half a header", "half a message", "huge header", "huger header", "negative header", "slow"]


@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
@pytest.mark.parametrize("what", [*TROUBLE, "command"])
def test_a_hostile_program_hinders_nobody(family, what):
    with Listener(family=family, authkey=KEY) as listener, hostile(listener.address, what) as peer:
        assert peer.stdout.readline()
        told = []
        thread = in_thread(lambda: told.append(good_peer(listener.address)))
        begin = time.monotonic()
        with accepted(listener) as connection:
            assert connection.recv() == "good"
            connection.send("thanks")
        assert time.monotonic() - begin < 4
        thread.join()
        assert told == ["thanks"]


@pytest.mark.parametrize("what", ["another digest", "md5", "old md5"])
def test_a_guess_is_refused_whatever_the_digest(what):
    with Listener(authkey=KEY) as listener, hostile(listener.address, what) as peer:
        with pytest.raises(AuthenticationError):
            listener.accept(30)
        assert peer.wait(30) == 4


def test_a_digest_that_the_system_does_without_is_refused(monkeypatch):
    """A peer asks for MD5 where there is none."""

    def without_md5(key, message, digest):
        if digest == "md5":
            raise ValueError("unsupported hash type md5")
        return b""

    monkeypatch.setattr(auth.hmac, "new", without_md5)
    with pytest.raises(AuthenticationError, match="unsupported"):
        auth._create_response(KEY, b"x" * 20)
    with pytest.raises(AuthenticationError, match="unsupported"):
        auth._verify_challenge(KEY, b"x" * 40, b"x" * 16)


def test_a_flood_of_connections_does_not_keep_out_who_is_far_away():
    with Listener(("127.0.0.1", 0), authkey=KEY) as listener, hostile(listener.address, "flood"):
        told = []

        def come():
            for _ in range(3):
                told.append(good_peer(listener.address, 0.06))

        time.sleep(0.5)  # it is under way
        thread = in_thread(come)
        for _ in range(3):
            with accepted(listener) as connection:
                assert connection.recv() == "good"
                connection.send("thanks")
        thread.join()
        assert told == ["thanks"] * 3


def test_time_in_which_nobody_accepts_is_not_the_peers(monkeypatch):
    monkeypatch.setattr(admission, "SECONDS", 1.0)
    with Listener(("127.0.0.1", 0), authkey=KEY) as listener, Client(listener.address) as connection:
        with pytest.raises(TimeoutError):
            listener.accept(0.1)
        time.sleep(1.2)
        thread = in_thread(lambda: (answer_challenge(connection, KEY), deliver_challenge(connection, KEY)))
        listener.accept(5).close()
        thread.join()


def test_a_forked_copy_of_a_listener_does_not_have_its_peers():
    with Listener(("127.0.0.1", 0), authkey=KEY) as listener, socket.create_connection(listener.address):
        with pytest.raises(TimeoutError):
            listener.accept(0.05)
        assert listener._admission._peers.oldest() is not None
        pid = plain_fork()
        if pid == 0:
            try:
                listener.accept(0.05)
            except TimeoutError:
                os._exit(int(listener._admission._peers.oldest() is not None))
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# -- the sharer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize("what", TROUBLE)
def test_who_fetches_a_descriptor_does_not_wait_for_others(what, knows):
    read_fd, write_fd = os.pipe()
    key = bytes(polyproc.current_process().authkey)
    try:
        ticket = sharer.share([read_fd])
        with hostile(ticket.address, what, key if knows else b"") as peer:
            assert peer.stdout.readline()
            begin = time.monotonic()
            [fd] = ticket.detach()
            assert time.monotonic() - begin < 4
            assert not os.get_inheritable(fd)
            os.close(fd)
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_a_sharer_whose_thread_cannot_start_gives_no_ticket(monkeypatch):
    sharer.stop()
    read_fd, write_fd = os.pipe()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                sharer.share([read_fd])
        [fd] = sharer.share([read_fd]).detach()
        os.close(fd)
    finally:
        os.close(read_fd)
        os.close(write_fd)


def refused(thread):
    raise RuntimeError("can't start new thread")


# -- what is announced ---------------------------------------------------------------------------------------------


def memory():
    """Return the bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("header", [struct.pack("!i", 0x7FFFFFFF), struct.pack("!iQ", -1, 1 << 40)])
@pytest.mark.parametrize("how", ["recv", "recv_bytes"])
def test_memory_is_taken_as_bytes_arrive(header, how):
    ours, theirs = socket.socketpair()
    with Connection(ours.detach()) as connection, theirs:
        told = []

        def receive():
            try:
                getattr(connection, how)()
            except Exception as error:
                told.append(error)

        thread = in_thread(receive)
        stack = memory()
        theirs.sendall(header + b"x" * 1000)
        time.sleep(0.2)
        most = memory()
        theirs.close()
        thread.join()
        assert isinstance(told[0], EOFError)
        assert most - stack < 1 << 29


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (8 << 20) + 3, (9 << 20) - 5])
def test_large_messages_come_whole(size):
    one, two = polyproc.Pipe()
    with one, two:
        data = random.Random(size).randbytes(size)
        thread = in_thread(one.send_bytes, data)
        assert two.recv_bytes() == data
        thread.join()
        thread = in_thread(one.send_bytes, data)
        with pytest.raises(polyproc.BufferTooShort) as caught:
            two.recv_bytes_into(bytearray(10))
        assert caught.value.args[0] == data
        thread.join()


# -- sockets that a library made non-blocking ----------------------------------------------------------------------


class NeverBlocks(socket.socket):
    """As a library's class of sockets, whose descriptors never block whatever is asked for."""

    def setblocking(self, flag):
        super().setblocking(False)

    def connect(self, address):
        with contextlib.suppress(BlockingIOError):
            super().connect(address)
        eventually(lambda: self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0)


@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
@pytest.mark.parametrize("how", ["timeout", "class"])
def test_sockets_that_a_library_made_non_blocking(monkeypatch, family, how):
    if how == "timeout":
        monkeypatch.setattr(socket, "socket", socket.socket)
        socket.setdefaulttimeout(0.05)
    else:
        monkeypatch.setattr(socket, "socket", NeverBlocks)
    try:
        with Listener(family=family, authkey=KEY) as listener:
            told = []

            def come():
                with Client(listener.address, authkey=KEY) as connection:
                    told.append(connection.recv())
                    time.sleep(0.2)
                    connection.send("late")

            thread = in_thread(come)
            with listener.accept() as connection:
                time.sleep(0.2)
                connection.send("late, too")
                assert connection.recv() == "late"
            thread.join()
            assert told == ["late, too"]
        one, two = polyproc.Pipe()
        with one, two:
            assert os.get_blocking(one.fileno())
            assert os.get_blocking(two.fileno())
            read_fd, write_fd = os.pipe()
            ticket = sharer.share([read_fd])
            os.close(read_fd)
            os.close(write_fd)
            [fd] = ticket.detach()
            os.close(fd)
    finally:
        socket.setdefaulttimeout(None)


def test_a_call_that_fails_does_not_end_a_tasks_thread():
    from polyproc._aio.loops import OwnerThread

    owner, done = OwnerThread(), threading.Event()
    owner.tell(lambda: 1 / 0)
    owner.tell(done.set)
    assert done.wait(10)
    owner.end()


@pytest.mark.parametrize("kind", ["portable", "overridden"])
def test_an_item_for_which_no_thread_can_start_is_not_in(monkeypatch, kind):
    from polyproc._queues import classic, portable_queue

    made = portable_queue.Queue if kind == "portable" else classic.ClassicQueue
    items = made(1, ctx=polyproc.get_context("fork"))
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                items.put("lost", timeout=1)
    items.put("item", timeout=1)
    assert items.get(timeout=10) == "item"
    items.close()
    items.join_thread()
