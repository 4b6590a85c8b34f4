"""What other people's libraries take from inside: trackers, launchers, starters and names of their own."""

import importlib
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

import polyproc
from conftest import PROGRAMS, eventually, is_running, plain_fork
from polyproc import process, resource_tracker, util
from support import targets

# -- a tracker of somebody's own -----------------------------------------------------------------------------------


class PipeTracker(resource_tracker.ResourceTracker):
    """Has a helper of its own, and a command of its own, as loky's."""

    launched = 0

    def ensure_running(self):
        with self._lock:
            if self._fd is not None:
                if self._check_alive():
                    return
                os.close(self._fd)
            self.read_fd, self._fd = os.pipe()
            self.launched += 1

    def maybe_unlink(self, name, rtype):
        self._send("MAYBE_UNLINK", name, rtype)

    def told(self):
        return os.read(self.read_fd, 4096).decode()


def test_a_trackers_subclass_speaks_the_standard_librarys_lines():
    tracker = PipeTracker()
    tracker.register("/a:b", "folder")
    assert tracker.told() == "REGISTER:/a:b:folder\n"
    tracker.maybe_unlink("/a", "file")
    tracker.unregister("/a", "shared_memory")
    assert tracker.told() == "PROBE:0:noop\nMAYBE_UNLINK:/a:file\nPROBE:0:noop\nUNREGISTER:/a:shared_memory\n"
    assert tracker.getfd() == tracker._fd
    with pytest.raises(ValueError, match="(name|msg) too long"):
        tracker.register("/" + "x" * 600, "folder")
    assert tracker.launched == 1
    os.close(tracker.read_fd)
    tracker.register("/c", "folder")  # its helper has gone: another is started
    assert (tracker.launched, tracker.told()) == (2, "REGISTER:/c:folder\n")
    tracker._stop()
    assert tracker._fd is None
    assert os.read(tracker.read_fd, 1) == b""
    os.close(tracker.read_fd)


def test_a_tracker_that_overrides_nothing_is_heeded_by_ours():
    """In a program of its own: what is left there is removed at its end."""
    code = (
        "import polyproc.resource_tracker as rt, polyproc.shared_memory as sm\n"
        "class Own(rt.ResourceTracker): pass\n"
        "own = Own()\n"
        "left, kept = sm.SharedMemory(create=True, size=9), sm.SharedMemory('polyproc-test-own', create=True, size=9)\n"
        "rt.unregister(kept._name, 'shared_memory')\n"
        "own.register(kept._name, 'shared_memory')\n"
        "assert own.getfd() == own._fd and isinstance(rt._resource_tracker, rt.ResourceTracker)\n"
        "own._stop()\n"
        "print(left.name, kept.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    for name in done.stdout.split():
        eventually(lambda name=name: not os.path.exists(f"/dev/shm/{name}"))


# -- a launcher of somebody's own ----------------------------------------------------------------------------------


class OwnPopen:
    """Has what the standard library asks of it, and no more."""

    def __init__(self, obj):
        self.returncode = None
        self.sentinel, write_fd = os.pipe()
        self.pid = plain_fork()
        if not self.pid:
            code = 1
            try:
                os.close(self.sentinel)
                code = obj._bootstrap()
            finally:
                os._exit(code)
        os.close(write_fd)

    def poll(self, flag=os.WNOHANG):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, flag)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                os.close(self.sentinel)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            select.select([self.sentinel], [], [], timeout)
        return self.poll(os.WNOHANG if timeout is not None else 0)

    def terminate(self):
        os.kill(self.pid, signal.SIGTERM)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


class OwnProcess(process.BaseProcess):
    _Popen = staticmethod(OwnPopen)


def ended(made):
    made.start()
    made.join()
    assert not made.is_alive()
    return made


def test_a_launcher_of_anothers_needs_poll_wait_terminate_and_kill_alone():
    for end, code in (("terminate", -signal.SIGTERM), ("kill", -signal.SIGKILL)):
        made = OwnProcess(target=time.sleep, args=(60,))
        made.start()
        assert made in polyproc.active_children()
        assert made.is_alive()
        assert str(made.pid) in repr(made)
        getattr(made, end)()
        made.join()
        assert made.exitcode == code
        with pytest.raises(polyproc.ProcessDied) as died:
            made.result()
        assert (died.value.pid, died.value.signal) == (made.pid, -code)
        made.close()
    made = ended(OwnProcess(target=sys.exit, args=(3,)))
    assert made.exitcode == 3
    assert made.exception().exitcode == 3
    made = ended(OwnProcess(target=targets.nothing))
    with pytest.raises(RuntimeError, match="OwnPopen, brings no results"):
        made.result()
    assert ended(OwnProcess(target=sys.exit, args=(2**40 + 7,))).exitcode == 7
    assert ended(OwnProcess(target=interrupted)).exitcode == 1


def sleep_long(fd):
    os.write(fd, b"r")
    time.sleep(60)


def interrupted():
    raise KeyboardInterrupt


def test_a_child_of_anothers_launcher_can_be_stopped_and_interrupted():
    for end in (lambda made: made.stop(60), OwnProcess.interrupt):
        read_fd, write_fd = os.pipe()
        made = OwnProcess(target=sleep_long, args=(write_fd,))
        made.start()
        assert os.read(read_fd, 1) == b"r"  # a signal that comes within a fork is lost
        end(made)
        made.join()
        assert made.exitcode == 1
        os.close(read_fd)
        os.close(write_fd)


def starts_another():
    ended(OwnProcess(target=targets.echo, args=("its child's",)))
    return "its own"


def test_a_child_of_anothers_launcher_does_not_write_its_parents_result(ctx):
    made = ctx.Process(target=starts_another)
    made.start()
    made.join()
    assert made.result() == "its own"


def test_a_daemon_of_anothers_launcher_ends_at_exit():
    code = (
        "import time\n"
        "from behaviour.test_what_libraries_reach_for import OwnProcess\n"
        "made = OwnProcess(target=time.sleep, args=(60,), daemon=True)\n"
        "made.start()\n"
        "print(made.pid)\n"
    )
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env = {**os.environ, "PYTHONPATH": tests}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert not is_running(int(done.stdout))


FORGETS = """
import threading, time, polyproc
from behaviour.test_what_libraries_reach_for import OwnPopen, OwnProcess

class TellingPopen(OwnPopen):
    def poll(self, *args):
        pollers.add(threading.current_thread().name)
        return super().poll(*args)

class TellingProcess(OwnProcess):
    _Popen = TellingPopen

pollers = set()
for kind in [TellingProcess, polyproc.get_context("fork").Process] * 12:
    kind(target=int).start()
threads = [thread for thread in threading.enumerate() if thread.name == "polyproc-reaper"]
for thread in threads:
    thread.join(30)
print(*pollers)
polyproc.active_children()
"""


def test_a_child_of_anothers_launcher_that_was_forgotten_is_polled_by_no_thread_of_ours():
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env = {**os.environ, "PYTHONPATH": tests}
    code = f"import warnings; warnings.simplefilter('ignore')\n{FORGETS}"  # of a fork beside that thread
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
    assert (done.stdout, done.stderr) == ("MainThread\n", "")


# -- a starter of somebody's own -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_starter_that_a_program_replaces_starts_every_program(method, monkeypatch):
    original, lines = util.spawnv_passfds, []

    def another(path, args, passfds):
        lines.append(args)
        at = args.index("-c")
        before = [
            "-c",
            "import sys; sys.was_here = True; exec(sys.argv[2])",
        ]  # a tracer, say: the whole line is told to it
        return original(path, args[:at] + before + args[at:], passfds)

    monkeypatch.setattr(util, "spawnv_passfds", another)
    assert util.spawnv_passfds is another
    for _ in range(2):
        made = polyproc.get_context(method).Process(target=getattr, args=(sys, "was_here"))
        made.start()
        assert made.result(60) is True
    monkeypatch.undo()
    assert util.spawnv_passfds is original
    assert len(lines) == (2 if method == "spawn" else 1)
    assert all(isinstance(word, str) for line in lines for word in line)
    assert ("forkserver" in lines[0][-1]) is (method == "forkserver")  # who traces children tells them by that


# -- the rest ------------------------------------------------------------------------------------------------------


class Slow:
    """Takes its time to be pickled, until it is told to go on."""

    def __init__(self):
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __reduce__(self):
        self.begun.set()
        self.go_on.wait(60)
        return int, ()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_is_alive_while_it_is_being_started(method):
    slow = Slow()
    made = polyproc.get_context(method).Process(target=targets.echo, args=(slow,))
    assert not made.is_alive()
    thread = threading.Thread(target=made.start)
    thread.start()
    slow.begun.wait(60)
    assert made.is_alive()
    slow.go_on.set()
    thread.join()
    made.join()
    assert not made.is_alive()


def test_a_process_whose_start_fails_is_not_alive():
    made = polyproc.get_context("spawn").Process(target=targets.echo, args=(threading.Lock(),))
    with pytest.raises(TypeError):
        made.start()
    assert not made.is_alive()


def test_the_warning_of_threads_begins_with_the_interpreters_own_words():
    """In a program of its own: it is given once for each thread."""
    code = (
        "import polyproc, threading, warnings\n"
        "warnings.simplefilter('error')\n"
        "warnings.filterwarnings('ignore', message=r'This process \\(pid=\\d+\\) is multi-threaded, use of fork\\(\\) may lead')\n"
        "done = threading.Event()\n"
        "threading.Thread(target=done.wait, name='the other', daemon=True).start()\n"
        "made = polyproc.get_context('fork').Process(target=print, args=('ran',))\n"
        "made.start(); made.join(); done.set()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
    done = subprocess.run(
        [sys.executable, "-c", code.replace("'ignore'", "'error'")], capture_output=True, text=True, timeout=60
    )
    assert "deadlocks in the child. Other threads: the other. A lock" in done.stderr


def test_counters_that_celery_takes():
    assert next(util._afterfork_counter) < next(util._afterfork_counter)
    assert next(util._finalizer_counter) < next(util._finalizer_counter)


class ForeignWorker:
    """What Celery puts in the place of the current process: a daemon of another library."""

    _identity, _name, _parent_pid = (1,), "ForkPoolWorker-1", os.getpid()
    authkey = b"a key of theirs"

    def __init__(self):
        self._config = {"daemon": True, "authkey": self.authkey}


@pytest.fixture
def foreign_worker(monkeypatch):
    monkeypatch.setattr(process, "_current_process", ForeignWorker())


def nested():
    return polyproc.current_process().daemon, bytes(polyproc.current_process().authkey)


def test_a_worker_of_another_library_may_start_processes(ctx, foreign_worker):
    made = ctx.Process(target=nested)
    made.start()
    made.join()
    assert made.result() == (True, b"a key of theirs")  # it ends with the worker
    with ctx.Pool(1) as pool:
        assert pool.apply(targets.add, (1, 2)) == 3


def test_a_barrier_is_a_barrier():
    assert isinstance(polyproc.Barrier(2), threading.Barrier)


# -- names ---------------------------------------------------------------------------------------------------------


def test_public_classes_are_shown_under_the_name_that_the_program_knows(method):
    """The same where they were sent, and whether or not their module was ever imported."""
    program = str(PROGRAMS / "shown_names.py")
    done = subprocess.run(
        [sys.executable, "-m", "polyproc", "run", program, method], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    *names, last = done.stdout.splitlines()
    assert {name.partition(".")[0] for name in names} == {"multiprocessing"}
    assert names[:4] == [
        f"multiprocessing.{name}"
        for name in ("queues.Queue", "queues.SimpleQueue", "queues.JoinableQueue", "synchronize.Lock")
    ]
    assert last == "<class 'multiprocessing.TimeoutError'> <class 'multiprocessing.shared_memory.SharedMemory'>"


def test_public_classes_are_shown_as_of_their_doors(ctx):
    for made, name in (
        (ctx.Lock(), "synchronize.Lock"),
        (ctx.Event(), "synchronize.Event"),
        (ctx.SimpleQueue(), "queues.SimpleQueue"),
    ):
        assert repr(type(made)) == f"<class 'polyproc.{name}'>"
        made.close() if hasattr(made, "close") else None
    for door in (
        "connection",
        "context",
        "managers",
        "process",
        "queues",
        "shared_memory",
        "sharedctypes",
        "synchronize",
        "util",
    ):
        module = importlib.import_module(f"polyproc.{door}")
        for name in module.__all__:
            found = getattr(module, name)
            if isinstance(found, type):
                shown = importlib.import_module(found.__module__)
                assert "._" not in found.__module__, name
                assert getattr(shown, found.__qualname__) is found
                assert pickle.loads(pickle.dumps(found)) is found


def test_a_public_class_whose_door_is_closed_goes_by_reference():
    code = (
        "import pickle, sys, polyproc\n"
        "from polyproc._pickling import pickler\n"
        "event = polyproc.Event()\n"
        "assert 'polyproc.synchronize' not in sys.modules\n"
        "assert pickle.loads(pickler.dumps([type(event), lambda: 3]))[0] is type(event)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_launcher_of_anothers_can_describe_a_parent_and_become_what_was_described(tmp_path):
    """In two programs of its own: what the one is told about itself the other becomes."""
    (tmp_path / "main.py").write_text(
        "import pickle, subprocess, sys\n"
        "from polyproc import spawn\n"
        "value = 'of main'\n"
        "if __name__ == '__main__':\n"
        "    sys.argv.append('an argument')\n"
        "    told = pickle.dumps(spawn.get_preparation_data('another'))\n"
        "    subprocess.run([sys.executable, 'child.py'], input=told, check=True)\n"
    )
    (tmp_path / "child.py").write_text(
        "import pickle, sys, polyproc\n"
        "from polyproc import spawn\n"
        "spawn.prepare(pickle.load(sys.stdin.buffer))\n"
        "print(polyproc.current_process().name, sys.argv[1:], sys.modules['__mp_main__'].value)\n"
    )
    done = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("another ['an argument'] of main\n", "")


def test_names_that_editors_import_by_themselves_are_there():
    """`from multiprocessing.spawn import prepare` stands in many programs that do not use it."""
    from polyproc.process import _ParentProcess
    from polyproc.resource_tracker import ReentrantCallError
    from polyproc.spawn import get_command_line, import_main_path, prepare

    assert all(map(callable, (prepare, get_command_line, import_main_path)))
    assert issubclass(ReentrantCallError, RuntimeError)
    assert issubclass(_ParentProcess, process.BaseProcess)
