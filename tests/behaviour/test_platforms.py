"""What Linux alone has is taken away, by POLYPROC_PLATFORM=posix: all works in other ways, which systems like macOS have."""

import os
import subprocess
import sys

import pytest

from conftest import PROGRAMS

TOUR = PROGRAMS / "tour.py"
LIKE_MACOS = PROGRAMS / "like_macos"  # its sitecustomize.py
# The interpreter itself makes the others.
OURS = ["memfd_create", "pidfd_open", "pidfd_send_signal", "eventfd2", "waitid", "fallocate"]


def environment(**variables):
    env = {**os.environ, "POLYPROC_PLATFORM": "posix", "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    env.pop("POLYPROC_NATIVE", None)
    return {**env, **variables}


def run(*command, **variables):
    words = [sys.executable, *map(str, command)]
    return subprocess.run(words, capture_output=True, text=True, timeout=110, env=environment(**variables))


STEPS = {
    "fork": "queues,memory,locks,ends,messages,pools,managers,others",
    "spawn": "memory,ends",
    "forkserver": "memory,ends,pools",
}


@pytest.mark.parametrize("method", STEPS)
def test_nothing_of_linux_is_used(method):
    """Where the interpreter has it not, nor lets our files look at it."""
    path = f"{LIKE_MACOS}:{os.environ['PATH']}"  # a ps of its own
    done = run(TOUR, method, STEPS[method], PYTHONPATH=str(LIKE_MACOS), PATH=path)
    assert (done.stdout, done.stderr) == (f"{method}: all is well\n", "")


def test_no_call_of_linux_is_made():
    """The kernel answers with what nobody takes for a refusal."""
    calls = OURS
    done = run(PROGRAMS / "refusing.py", 18, ",".join(calls), sys.executable, TOUR, "fork", "memory,ends")
    if "no filter can be set here" in done.stderr:
        pytest.skip("this system sets no filters")
    assert (done.stdout, done.stderr) == ("fork: all is well\n", "")


def test_the_core_is_not_used_and_says_why():
    done = run("-c", "import polyproc; print(polyproc.native)")
    assert "needs Linux" in done.stdout
    done = run("-c", "import polyproc; polyproc.native", POLYPROC_NATIVE="require")
    assert "ImportError: POLYPROC_NATIVE=require, but the C core needs Linux" in done.stderr


def test_children_are_of_the_same_platform():
    program = """if True:
        import polyproc
        from polyproc._platform import posix

        def platform():
            return posix.LINUX, bool(polyproc.native)

        for method in ("fork", "spawn", "forkserver"):
            child = polyproc.get_context(method).Process(target=platform)
            child.start()
            child.join()
            print(child.result())
    """
    assert run("-c", program).stdout == "(False, False)\n" * 3


def test_a_killed_listener_leaves_a_directory_which_the_next_program_removes(tmp_path):
    killed = """if True:
        import os, signal
        from polyproc.connection import Listener
        listener = Listener()
        print(listener.address, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    living = (
        "from polyproc.connection import Listener\nlistener = Listener()\nprint(listener.address, flush=True)\ninput()"
    )
    starts = "import os, polyproc\nchild = polyproc.Process(target=os.getpid)\nchild.start()\nchild.join()"
    env = {"TMPDIR": str(tmp_path)}
    left = run("-c", killed, **env).stdout.strip()
    other = subprocess.Popen(
        [sys.executable, "-c", living],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(**env),
    )
    kept = other.stdout.readline().strip()
    assert os.path.exists(left) and os.path.exists(kept)
    assert run("-c", starts, **env).stderr == ""
    assert not os.path.exists(os.path.dirname(left))
    assert os.path.exists(kept)
    other.communicate("\n", timeout=60)
    assert not list(tmp_path.iterdir())


def test_a_listener_has_a_path_that_is_too_long_for_a_socket(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    program = """if True:
        import polyproc
        from polyproc.connection import Client, Listener
        with Listener() as listener:
            assert len(listener.address) > 104
            child = polyproc.get_context("fork").Process(target=lambda: Client(listener.address).send(1))
            child.start()
            print(listener.accept().recv())
            child.join()
    """
    done = run("-c", program, TMPDIR=str(folder))
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert not list(folder.iterdir())
