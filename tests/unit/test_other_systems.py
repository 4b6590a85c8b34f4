"""What no system at hand has, by fakes: kqueue(2), credentials of BSD, the default of macOS, what another ps says."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys

import pytest

from polyproc._connection import sockets
from polyproc._platform import posix, processes
from polyproc._programs import run_tracker


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


def test_processes_are_told_by_ps():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        row = processes.table()[child.pid]
        assert row.parent == os.getpid()
        assert abs(int(row.started) - int(processes.started_at(child.pid))) <= 1
        assert abs(run_tracker.start_by_ps(child.pid) - int(row.started)) <= 1
        assert processes.resident_bytes(child.pid) > 1 << 20
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
    assert processes.resident_bytes(os.getpid()) == 0


@pytest.mark.parametrize("date", ["", "Sat", "Sat Nov 28 07:10:38", "Sa 28 Nov 07:10:38 2026", "Sat Nov 28 0710 2026"])
def test_a_date_that_is_none_is_no_time(date):
    assert processes._seconds(date) == ""
