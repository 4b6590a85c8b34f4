"""What the tests' processes on other hosts run. Nothing of pytest is loaded there."""

import os
import signal
import sys
import time

import polyproc


def where():
    return os.environ["POLYPROC_HOST"]


def family():
    parent = polyproc.parent_process()
    return polyproc.current_process().name, parent.pid, parent.is_alive(), os.getppid()


def say(out, err):
    print(out, flush=True)
    print(err, end="", file=sys.stderr, flush=True)


def fail():
    raise KeyError("the key")


def leave(code):
    sys.exit(code)


def end_by(signum):
    os.kill(os.getpid(), signum)
    time.sleep(60)


def sleep(seconds=100.0):
    time.sleep(seconds)


def hold_on():
    """Tell of its process, and bear SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("holds on", os.getpid(), flush=True)
    time.sleep(100)


def make_child(pids):
    """Start a process of its own there, and wait."""
    child = polyproc.Process(target=sleep)
    child.start()
    return child.pid


def result_of_own_child():
    child = polyproc.get_context("fork").Process(target=where)
    child.start()
    return child.result(20)


def use_carried():
    import carried_along.part

    return carried_along.part.answer(), carried_along.__file__


def size_of(data):
    return len(data)


def echo(value):
    return value
