"""What no system at hand has, by fakes: kqueue(2), credentials of BSD, the default of macOS, what another ps says."""

import errno
import os
import select
import signal
import socket
import struct
import subprocess
import sys

import pytest

from conftest import PROGRAMS
from polyproc._connection import listener as listener_module
from polyproc._connection import portable_connection, sockets
from polyproc._connection import sharer as sharer_module
from polyproc._connection.listener import Client, Listener
from polyproc._connection.sharer import sharer
from polyproc._platform import posix, processes
from polyproc._platform.handles import GONE, ready
from polyproc._process.process import current_process
from polyproc._programs import run_tracker
from polyproc._synchronize import portable_locks


class Kqueue:
    """Tells of the end of one process, as a kqueue with EVFILT_PROC and NOTE_EXIT does: by a pidfd."""

    def __init__(self):
        self.fd = -1
        self.closed = False

    def control(self, changes, most, timeout=None):
        for pid, kind, flags, note in changes or ():
            assert (kind, flags, note) == ("proc", "add", "exit")
            self.fd = os.pidfd_open(pid)  # ProcessLookupError, as there
        if most:
            select.select([self.fd], [], [], 20)
        return []

    def close(self):
        self.closed = True
        if self.fd >= 0:
            os.close(self.fd)


@pytest.fixture
def kqueues(monkeypatch):
    made = []

    def make():
        made.append(Kqueue())
        return made[-1]

    names = {"KQ_FILTER_PROC": "proc", "KQ_EV_ADD": "add", "KQ_NOTE_EXIT": "exit", "kqueue": make}
    for name, value in names.items():
        monkeypatch.setattr(select, name, value, raising=False)
    monkeypatch.setattr(select, "kevent", lambda *event: event, raising=False)
    monkeypatch.setattr(run_tracker.time, "sleep", lambda seconds: None)
    return made


def test_the_tracker_waits_for_a_process_by_a_kqueue(kqueues):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        ancestor = (child.pid, run_tracker.start_time(child.pid))
        child.send_signal(signal.SIGKILL)
        run_tracker.wait_for(ancestor)
        assert not run_tracker.is_alive(ancestor)
        child.wait()
        run_tracker.wait_for(ancestor)  # there is none of that pid any more
        assert [kqueue.closed for kqueue in kqueues] == [True, True]
    finally:
        child.kill()
        child.communicate()


def test_the_user_at_the_other_end_is_told_as_bsd_tells_it(monkeypatch):
    class Sock:
        def __init__(self, user):
            self.user = user

        def getsockopt(self, level, option, size):
            assert (level, option, size) == (0, 1, 76)
            return struct.pack("=IIh2x16I", 0, self.user, 1, *[20] * 16)

    monkeypatch.setattr(sockets, "has", lambda module, name: False)
    assert sockets.is_same_user(Sock(os.geteuid()))
    assert sockets.is_same_user(Sock(0))
    assert not sockets.is_same_user(Sock(os.geteuid() + 1))


def test_where_nothing_tells_the_user_the_path_does(monkeypatch):
    monkeypatch.setattr(sockets, "has", lambda module, name: False)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert sockets.is_same_user(ours)


def test_macos_starts_by_spawn(monkeypatch):
    monkeypatch.setattr(posix, "IS_MACOS", True)
    assert posix.start_methods()[0] == "spawn"
    assert set(posix.start_methods()) == {"fork", "spawn", "forkserver"}


@pytest.mark.parametrize("strict", [False, True], ids=["ours", "as POSIX has it"])
def test_processes_are_told_by_ps(monkeypatch, strict):
    if strict:
        monkeypatch.setenv("PATH", f"{PROGRAMS / 'like_macos'}:{os.environ['PATH']}")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        row = processes.table()[child.pid]
        assert row.parent == os.getpid()
        assert abs(int(row.started) - int(processes.started_at(child.pid))) <= 1
        assert abs(run_tracker.start_by_ps(child.pid) - int(row.started)) <= 1
        assert processes.resident_bytes_of(child.pid) > 1 << 20
    finally:
        child.kill()
        child.communicate()
    assert processes.started_at(child.pid) == ""
    assert child.pid not in processes.table()


def test_without_a_ps_nothing_is_told(monkeypatch):
    def posix_spawnp(*args, **options):
        raise FileNotFoundError

    monkeypatch.setattr(os, "posix_spawnp", posix_spawnp)
    assert processes.table() == {}
    assert processes.started_at(os.getpid()) == ""
    assert processes.resident_bytes_of(os.getpid()) == 0


@pytest.mark.parametrize("date", ["", "Sat", "Sat Nov 28 07:10:38", "Sa 28 Nov 07:10:38 2026", "Sat Nov 28 0710 2026"])
def test_a_date_that_is_none_is_no_time(date):
    assert processes._seconds(date) == ""


def test_who_accepts_at_a_listeners_socket_gets_one_that_blocks_where_it_is_handed_on_that_the_listening_one_does_not(
    monkeypatch,
):
    accept = socket.socket._accept

    def as_bsd(self):
        fd, address = accept(self)
        os.set_blocking(fd, False)
        return fd, address

    monkeypatch.setattr(sockets.ListeningSocket, "_accept", as_bsd, raising=False)
    with Listener(("localhost", 0)) as listener:
        client = Client(listener.address)
        with client, listener._listener.accept() as connection:
            assert os.get_blocking(connection.fileno())


def test_a_peer_that_has_gone_and_of_which_nothing_can_be_set_is_let_in_and_has_ended(monkeypatch):
    class Gone(socket.socket):
        def setsockopt(self, *args):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    ours, theirs = socket.socketpair()
    theirs.close()
    connection = listener_module._connection_of(Gone(fileno=ours.detach()), "AF_INET")
    with connection, pytest.raises(EOFError):
        connection.recv()


def test_what_is_given_stays_until_its_receiver_has_it_where_the_system_may_throw_it_away(monkeypatch):
    monkeypatch.setattr(sharer_module, "LINUX", False)
    monkeypatch.setattr(sharer_module, "_MOMENT", 20.0)
    read_fd, write_fd = os.pipe()
    ticket = sharer.share([read_fd])
    key = current_process().authkey
    with Client(ticket.address, authkey=key) as connection:
        connection.send_bytes(ticket.key)
        assert ready([connection.fileno()], 20)
        assert connection.fileno() not in ready([connection.fileno()], 0.2, GONE)
        with socket.socket(fileno=os.dup(connection.fileno())) as sock:
            answer, fds = sharer_module._receive(sock, 1)
    assert answer == b"+"
    for fd in (*fds, read_fd, write_fd):
        os.close(fd)
    sharer.stop()


def test_who_comes_when_too_many_wait_comes_again_where_the_system_refuses_that(monkeypatch):
    monkeypatch.setattr(sharer_module, "LINUX", False)
    came = []

    def client(address, authkey):
        came.append(address)
        if len(came) < 3:
            raise ConnectionRefusedError
        return "connected"

    monkeypatch.setattr(sharer_module, "Client", client)
    assert sharer_module._connect("where") == "connected"
    assert came == ["where"] * 3


def test_no_more_is_written_at_once_than_macos_takes(monkeypatch):
    monkeypatch.setattr(portable_connection, "_AT_ONCE", 1000)
    written = []
    writev = os.writev

    def counting(fd, buffers):
        written.append(sum(map(len, buffers)))
        return writev(fd, buffers)

    monkeypatch.setattr(portable_connection.os, "writev", counting)
    ours, theirs = socket.socketpair()
    one, other = (portable_connection.PortableConnection(end.detach()) for end in (ours, theirs))
    with one, other:
        one.send_bytes(b"." * 5000)
        assert other.recv_bytes() == b"." * 5000
    assert len(written) == 5
    assert max(written) <= 1004


def test_counter_of_unfinished_items_is_raised_to_any_number_and_a_full_pipe_is_told():
    tally = portable_locks.ItemCounter(0)
    for _ in range(70_000):
        tally.release()
    assert tally.get_value() == 70_000
    semaphore = portable_locks.Semaphore(0)
    with pytest.raises(OSError, match="too large"):
        for _ in range(2_000_000):
            semaphore.release()
    assert semaphore.acquire(False)
