"""What is left when processes are killed: nothing, after a second; or nothing after the user's next program."""

import os
import random
import signal
import subprocess
import sys

import pytest

from conftest import PROGRAMS, eventually, is_running
from polyproc._launch.stopping import children_of


class Family:
    """A program of tests/programs with a temporary directory of its own, and all the processes that it started."""

    def __init__(self, folder, *args):
        command = [sys.executable, str(PROGRAMS / "is_killed.py"), *args]
        env = {**os.environ, "TMPDIR": str(folder)}
        self.folder = folder
        self.owner = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        assert self.owner.stdout.readline() == b"there\n"
        self.pids = [self.owner.pid]
        for pid in self.pids:
            self.pids += children_of(pid)

    def kill(self, pids):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def end(self):
        self.owner.kill()
        self.owner.communicate()
        eventually(lambda: not any(is_running(pid) for pid in self.pids))


@pytest.fixture
def family(tmp_path):
    made = []

    def make(*args):
        made.append(Family(tmp_path, *args))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_a_killed_owner_leaves_no_socket(family, method):
    killed = family(method, "listener", "manager", "sharer", "pool")
    killed.kill([killed.owner.pid])
    eventually(lambda: not any(is_running(pid) for pid in killed.pids))
    assert not list(killed.folder.iterdir())


def test_processes_killed_in_any_order_leave_no_socket(family, method):
    killed = family(method, "manager", "listener", "sharer")
    random.shuffle(killed.pids)
    killed.kill(killed.pids)
    killed.end()
    assert not list(killed.folder.iterdir())
