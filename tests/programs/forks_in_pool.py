"""User code that a pool runs in its own threads forks, and comes back in the child: what becomes of the copy."""

import os
import sys
import threading
import time
import warnings

import polyproc
from polyproc.pool import ThreadPool

warnings.simplefilter("ignore")
pids = []
main = os.getpid()


def fork(value=None):
    pid = os.fork()
    if pid:
        pids.append(pid)
    return value


def items():
    yield 1
    fork()
    yield 2
    yield 3


class Result:
    def __init__(self, parent):
        self.parent = parent

    def __reduce__(self):
        return opened, (self.parent,)


def opened(parent):
    return fork(5) if os.getpid() == parent else 5


def make(parent):
    return Result(parent)


def has_ended():
    """Return whether the copy ends by itself."""
    until = time.monotonic() + 20
    pid = pids.pop()
    while time.monotonic() < until:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.01)
    os.kill(pid, 9)
    return False


def call_back(pool):
    called = threading.Event()

    def callback(value):
        fork()
        called.set()

    value = pool.apply_async(abs, (-3,), callback=callback).get(20)
    called.wait(20)
    return value


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # what a copy finds in a buffer it writes again
    with polyproc.get_context(sys.argv[1]).Pool(2) as pool:
        print(list(pool.imap(abs, items())), has_ended())
        print(pool.apply(make, (main,)), has_ended())
        print(call_back(pool), has_ended())
        print(pool.map(abs, range(3)))
    with ThreadPool(2) as pool:
        print(pool.apply(fork, (4,)), has_ended())
        print(call_back(pool), has_ended())
        print(pool.map(abs, range(3)))
