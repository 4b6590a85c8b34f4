"""What the tests' processes run."""

import ctypes
import os
import signal
import sys
import threading
import time

import polyproc


def nothing():
    pass


def echo(value):
    return value


def add(a, b=0):
    return a + b


def raise_key_error():
    raise KeyError("the key")


class Unpicklable(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, a, b):
        super().__init__(a)
        self.lock = threading.Lock()


def raise_unpicklable():
    raise Unpicklable("first", "second")


def exit_with(code):
    sys.exit(code)


def os_exit(code):
    os._exit(code)


def kill_self(signum):
    os.kill(os.getpid(), signum)
    time.sleep(60)


def segfault():
    print("before the end", file=sys.stderr)
    ctypes.string_at(0)


def sleep(seconds=100):
    time.sleep(seconds)


def who():
    parent = polyproc.parent_process()
    me = polyproc.current_process()
    return (me.name, me.pid, os.getpid(), os.getppid(), parent.pid, parent.name, parent.is_alive(), bytes(me.authkey))


def fds():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    return found


def write_and_leave(path):
    sys.stdout.write("to stdout")
    file = open(path, "w")
    file.write("unflushed")
    globals()["kept"] = file


def ignore_signals(conn):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    conn.send(os.getpid())
    time.sleep(100)


def busy_in_c(conn):
    conn.send(os.getpid())
    sum(range(10**13))


def start_sleeper_tree(conn, depth, deaf_to_sigint=False):
    if deaf_to_sigint:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if depth:
        child = polyproc.Process(target=start_sleeper_tree, args=(conn, depth - 1, deaf_to_sigint))
        child.start()
    conn.send(os.getpid())
    # In pieces: a signal that comes between the interpreter's last look for one and the system call is heard after it.
    for _ in range(2000):
        time.sleep(0.05)


def recv_and_send(conn):
    conn.send(conn.recv() * 2)


class Worker(polyproc.Process):
    """A process by subclassing."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def run(self):
        return self.value * 2


def start_grandchild(value):
    child = polyproc.Process(target=echo, args=(value,))
    child.start()
    return (polyproc.get_start_method(), child.result(30))


def parent_pid(_):
    return os.getppid()
