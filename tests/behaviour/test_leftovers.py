"""What is left when processes are killed: nothing, after a second; or nothing after the user's next program."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PROGRAMS, eventually, is_running, needs
from polyproc._memory.tracker import tracker
from polyproc._platform.handles import children_of
from polyproc._platform.posix import LINUX
from polyproc.shared_memory import SharedMemory

SHARED = "/dev/shm"


class Family:
    """A program of tests/programs with a temporary directory of its own, and all the processes that it started."""

    last = None

    def __init__(self, folder, *args):
        command = [sys.executable, str(PROGRAMS / "is_killed.py"), *args]
        env = {**os.environ, "TMPDIR": str(folder)}
        self.folder = Family.last = folder
        self.owner = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        there, self.segment = self.owner.stdout.readline().decode().rstrip("\n").split(" ")
        assert there == "there"
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


@needs("abstract sockets")
def test_a_killed_owner_leaves_no_socket(family, method):
    killed = family(method, "listener", "manager", "sharer", "pool")
    killed.kill([killed.owner.pid])
    eventually(lambda: not any(is_running(pid) for pid in killed.pids))
    assert not list(killed.folder.iterdir())


@needs("abstract sockets")
def test_processes_killed_in_any_order_leave_no_socket(family, method):
    killed = family(method, "manager", "listener", "sharer")
    random.shuffle(killed.pids)
    killed.kill(killed.pids)
    killed.end()
    assert not list(killed.folder.iterdir())


# -- named segments ------------------------------------------------------------------------------------------------


class Marked:
    """A family that has named segments."""

    def __init__(self, killed):
        self.owner, self.kill, self.end, self.pids = killed.owner, killed.kill, killed.end, killed.pids
        self.mark = killed.segment[4:16]
        self.folder = killed.folder

    def left(self):
        """Return what stands in the folder: its file, tags and segments."""
        given = f"is-killed-{self.owner.pid}"
        found = [name for name in os.listdir(SHARED) if self.mark in name or name == given]
        if not LINUX:  # tags and the file are in the temporary directory
            found += [name for name in os.listdir(self.folder) if name.startswith(".polyproc-")]
        return found

    def _trackers(self):
        return [pid for pid in children_of(self.owner.pid) if b"tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def tracker(self):
        """Return its pid. The kernel shows no command line yet for a moment after a start has returned."""
        eventually(self._trackers)
        [pid] = self._trackers()
        return pid


@pytest.fixture
def marked(family):
    def make(*args):
        return Marked(family("fork", *args))

    return make


ALL = 4 if LINUX else 6  # two segments, the tag of one, the file; or two tags, the file, and one that is locked


def next_program(what="segments"):
    program = {
        "segments": "from polyproc.shared_memory import SharedMemory as S\nS(create=True, size=1).unlink()",
        "process": "import polyproc, os\np = polyproc.Process(target=os.getpid)\np.start()\np.join()",
    }[what]
    env = {**os.environ, "TMPDIR": str(Family.last or "/tmp")}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env=env)


def test_a_killed_owner_leaves_no_segment(marked):
    killed = marked("segments")
    assert len(killed.left()) == ALL
    killed.kill([killed.owner.pid])
    killed.owner.wait()
    eventually(lambda: not killed.left())


@pytest.mark.parametrize("what", ["segments", "process"])
def test_what_a_family_left_that_was_killed_with_its_tracker_is_removed_by_the_next_program(marked, what):
    killed = marked("segments", "pool", "manager")
    random.shuffle(killed.pids)
    killed.kill([killed.tracker(), *killed.pids])
    killed.end()
    next_program(what)
    eventually(lambda: not killed.left())


def test_the_next_program_leaves_to_a_tracker_what_it_will_remove_and_tell_of(marked):
    killed = marked("segments", "pool")
    tracker = killed.tracker()
    os.kill(tracker, signal.SIGSTOP)
    try:
        killed.kill(killed.pids[:1])
        rest = [pid for pid in killed.pids if pid != tracker]
        eventually(lambda: not any(is_running(pid) for pid in rest))
        next_program("process")  # which looks before it starts one; another's tracker would look some time later
        assert len(killed.left()) == ALL
    finally:
        os.kill(tracker, signal.SIGCONT)
    assert b"leaked shared_memory" in killed.owner.communicate(timeout=20)[1]
    assert not killed.left()


@pytest.mark.parametrize("what", ["segments", "process"])
def test_the_next_program_removes_nothing_of_a_living_family(marked, what):
    living = marked("segments", "closes")
    tracker = living.tracker()
    living.kill([tracker])
    eventually(lambda: not is_running(tracker))
    next_program(what)
    assert len(living.left()) == ALL
    living.end()
    next_program(what)
    eventually(lambda: not living.left())


def test_a_child_that_is_left_alone_keeps_the_segments(marked):
    living = marked("segments", "child")
    living.kill([living.tracker(), living.owner.pid])
    living.owner.wait()
    next_program()
    assert len(living.left()) == ALL
    living.kill(pid for pid in living.pids if is_running(pid))
    eventually(lambda: not any(is_running(pid) for pid in living.pids))
    next_program()
    eventually(lambda: not living.left())


def test_a_tracker_that_takes_the_place_of_a_killed_one_knows_what_was_there():
    first = [SharedMemory(create=True, size=10), SharedMemory(f"pptest-{os.getpid()}", create=True, size=10)]
    pid = tracker._pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not tracker._check_alive())
    with pytest.warns(UserWarning, match="died unexpectedly"):
        tracker.ensure_running()
    assert tracker._pid != pid
    for segment in first:
        segment.close()
    tracker._stop()
    assert not [segment.name for segment in first if os.path.exists(f"{SHARED}/{segment.name}")]


def test_what_is_not_this_users_stays():
    if os.geteuid() != 0:
        pytest.skip("it takes two users")
    name = f"{SHARED}/.polyproc-{os.urandom(6).hex()}"
    Path(name).touch()
    try:
        os.chown(name, 65534, 65534)
        next_program()
        assert os.path.exists(name)
    finally:
        os.unlink(name)
