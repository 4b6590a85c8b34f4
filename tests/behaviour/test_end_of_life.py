"""Nobody is left behind: the end of a parent, however it comes."""

import os
import signal
import subprocess
import sys

import pytest

import polyproc
from conftest import PROGRAMS, eventually, is_running, needs, open_fds
from support import targets


def start(name, *args):
    return subprocess.Popen([sys.executable, str(PROGRAMS / name), *args], stdout=subprocess.PIPE, text=True)


@needs("SIGKILL by descriptor")
def test_daemons_and_fork_servers_die_with_a_killed_parent_though_busy_in_c_code(method):
    program = start("has_daemons.py", method)
    daemons = [int(pid) for pid in program.stdout.readline().split()]
    others = [int(pid) for pid in program.stdout.readline().split()]
    assert all(is_running(pid) for pid in (*daemons, *others))
    program.kill()
    program.wait()
    program.stdout.close()
    eventually(lambda: not any(is_running(pid) for pid in daemons), timeout=5)
    assert all(is_running(pid) for pid in others)  # a non-daemon goes on, as in the standard library
    for pid in others:
        os.kill(pid, signal.SIGKILL)


def test_lifeline_holds_for_children_started_by_a_thread_that_has_ended(method):
    program = start("starts_in_thread.py", method)
    pid = int(program.stdout.readline())
    assert is_running(pid)
    program.kill()
    program.wait()
    program.stdout.close()
    eventually(lambda: not is_running(pid), timeout=5)


def test_parent_process_is_seen_to_end(ctx):
    ours, theirs = ctx.Pipe()
    with ours:
        middle = ctx.Process(target=_start_watcher, args=(theirs,))
        middle.start()
        theirs.close()
        assert ours.recv() == "alive"
        middle.kill()
        middle.join()
        assert ours.poll(20)
        assert ours.recv() == "gone"


def _start_watcher(conn):
    child = polyproc.Process(target=_watch_parent, args=(conn,))
    child.start()
    conn.close()
    child.join()


def _watch_parent(conn):
    parent = polyproc.parent_process()
    conn.send("alive" if parent.is_alive() else "gone")
    parent.join(30)
    conn.send("alive" if parent.is_alive() else "gone")


@pytest.mark.parametrize(("method", "count"), [("fork", 500), ("forkserver", 500), ("spawn", 50)])
def test_cycles_leak_nothing(method, count):
    ctx = polyproc.get_context(method)

    def cycle():
        process = ctx.Process(target=targets.nothing)
        process.start()
        process.join()
        assert process.exitcode == 0

    cycle()
    before = open_fds()
    for _ in range(count):
        cycle()
    assert len(open_fds()) <= len(before)
    assert not polyproc.active_children()
