"""Starts something that is to end with this program, then forks without this library; argv: what is started, how both end.

Says the pid of that child, which waits for the end of its standard input. Or that ends first: it says its exit status, and
waits itself.
"""

import os
import signal
import sys
import time

import polyproc
from polyproc.shared_memory import SharedMemory


def tracker():
    SharedMemory(create=True, size=10)


def fork_server():
    ctx = polyproc.get_context("forkserver")
    ctx.Process(target=int).start()


def spare():
    ctx = polyproc.get_context("spawn", preload=["json"])
    ctx.Process(target=int).start()


def daemon():
    polyproc.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True).start()


def spawned_daemon():
    polyproc.get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True).start()


def manager():
    kept.append(polyproc.get_context("fork").Manager())


def pool():
    kept.append(polyproc.get_context("fork").Pool(2))
    kept[0].map(abs, range(4))


kept = []

if __name__ == "__main__":
    what, how = sys.argv[1:]
    globals()[what]()
    pid = os.fork()
    if pid == 0:
        if how == "child ends":
            sys.exit()
        sys.stdin.read()
        os._exit(0)
    print(os.waitpid(pid, 0)[1] if how == "child ends" else pid, flush=True)
    if how == "child ends":
        sys.stdin.read()
    elif how == "parent is killed":
        os.kill(os.getpid(), signal.SIGKILL)
