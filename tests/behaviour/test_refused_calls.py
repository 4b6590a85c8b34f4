"""System calls that an old kernel does not know, or a container's filter refuses: all works in another way."""

import errno
import os
import subprocess
import sys

import pytest

from conftest import PROGRAMS, needs
from programs import refusing

METHODS = "fork,spawn,forkserver"
SHARING = "queues,memory,a_killed_owner,ends,pools"


def run(calls, error, *command):
    """Run a Python program while the kernel refuses these calls."""
    filtered = [sys.executable, str(PROGRAMS / "refusing.py"), str(error), ",".join(calls), sys.executable, *command]
    env = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    done = subprocess.run(filtered, capture_output=True, text=True, timeout=100, env=env)
    if "no filter can be set here" in done.stderr:
        pytest.skip("this system sets no filters")
    return done


def tour(calls, error, *arguments):
    done = run(calls, error, str(PROGRAMS / "tour.py"), *arguments)
    assert done.stderr == ""
    assert done.stdout.split(": all is well\n")[:-1] == arguments[0].split(",")


def known(error):
    """Return the calls whose refusal with this error leaves a C library that can start threads."""
    return [call for call in refusing.NUMBERS if (call, error) != ("clone3", errno.EPERM)]


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
def test_without_all_of_them(error):
    tour(known(error), error, METHODS)


@pytest.mark.parametrize("call", ["memfd_create", "pidfd_open", "set_robust_list"])
def test_without_one(call):
    tour([call], errno.EPERM, "fork,forkserver", SHARING)


@pytest.mark.chaos
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", [*refusing.NUMBERS, "clone3,pidfd_open"])
def test_without_each(call, error):
    if "clone3" in call and error == errno.EPERM:
        pytest.skip("the C library starts no thread then")
    tour([call], error, METHODS)


def test_a_child_is_watched_by_a_pipe_that_nobody_else_holds():
    """A child's sentinel is ready when it has ended, though its own child and its sibling live on."""
    program = """if True:
        import os, sys, time
        import polyproc
        from polyproc import connection

        def leave_one_behind(release):
            if os.fork() == 0:
                os.read(release, 1)
                os._exit(0)

        ctx = polyproc.get_context("fork")
        release, hold = os.pipe()
        sibling = ctx.Process(target=os.read, args=(release, 1))
        child = ctx.Process(target=leave_one_behind, args=(release,))
        child.start()
        sibling.start()
        start = time.monotonic()
        assert connection.wait([child.sentinel], 20) == [child.sentinel]
        child.join(20)
        assert child.exitcode == 0
        assert not connection.wait([sibling.sentinel], 0)
        os.write(hold, b"..")
        assert connection.wait([sibling.sentinel], 20)
        sibling.join()
        print("seen")
    """
    done = run(["pidfd_open"], errno.ENOSYS, "-c", program)
    assert (done.stdout, done.stderr) == ("seen\n", "")


@pytest.mark.parametrize("method", METHODS.split(","))
def test_a_child_sees_its_parents_end(method):
    """Without pidfds: by its parent's lifeline. The parent is killed, a middle one, whose own parent sees what comes."""
    program = f"""if True:
        import os, signal
        import polyproc

        def watch(told):
            parent = polyproc.parent_process()
            told.send(parent.is_alive())
            parent.join(20)
            told.send(parent.is_alive())

        def be_killed(told):
            polyproc.get_context("{method}").Process(target=watch, args=(told,)).start()
            signal.pause()

        if __name__ == "__main__":
            ours, theirs = polyproc.Pipe()
            middle = polyproc.get_context("fork").Process(target=be_killed, args=(theirs,))
            middle.start()
            assert ours.poll(20)
            assert ours.recv() is True
            middle.kill()
            assert ours.poll(20)
            assert ours.recv() is False
            middle.join()
            print("seen")
    """
    done = run(["pidfd_open"], errno.ENOSYS, "-c", program)
    assert (done.stdout, done.stderr) == ("seen\n", "")


@needs("system calls of Linux")
def test_doctor_names_them():
    calls = ["memfd_create", "pidfd_open", "sched_getaffinity"]
    done = run(calls, errno.EPERM, "-m", "polyproc", "doctor")
    assert done.returncode == 1
    for call in calls:
        assert f"! {call:<22} refused: Operation not permitted\n" in done.stdout
    for method in METHODS.split(","):
        assert f"  {method:<22} starts\n" in done.stdout


def test_memory_that_cannot_be_is_an_error_when_it_is_made():
    """In a file system it is reserved: what does not fit is refused, and is no fault of who writes there."""
    program = """if True:
        import polyproc
        try:
            polyproc.RawArray("B", 1 << 45)
        except OSError as error:
            print(error.errno)
    """
    done = run(["memfd_create"], errno.ENOSYS, "-c", program)
    assert done.stdout in (f"{errno.ENOSPC}\n", f"{errno.EFBIG}\n")  # no file of that file system is so large
    assert done.stderr == ""


def test_the_filter_refuses():
    """Else the tests above say nothing."""
    done = run(["memfd_create"], errno.EXDEV, "-c", "import os; os.memfd_create('a file')")
    assert "Invalid cross-device link" in done.stderr
