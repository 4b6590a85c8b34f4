"""What the processes of the tests of managers run."""

import os
import time

from polyproc.managers import SyncManager


def double(number):
    return number * 2


def divide(a, b):
    return a / b


def work(table, numbers, lock, results, number):
    with lock:
        table[number] = os.getpid()
        numbers.append(number)
    results.put(number * 2)


def append_to_first(outer, key):
    outer[0][key] = 0


def make_many(address, authkey, numbers, conn):
    manager = SyncManager(address, authkey)
    manager.connect()
    kept = [manager.list() for _ in range(20)]
    numbers.append(kept[0])
    conn.send("made")
    time.sleep(100)


def hold(lock, event):
    lock.acquire()
    event.set()
    time.sleep(100)


def take(items, event):
    event.set()
    items.get()


def have_a_manager(conn):
    import polyproc

    manager = polyproc.Manager()
    conn.send((manager._process.pid, manager.address))
    time.sleep(100)


def use_own(numbers):
    numbers.append(1)
    return len(numbers)


def take_and_use(objects):
    numbers = objects.get()
    numbers.append(1)
    return len(numbers)


def wait_for(obj, event, *args):
    event.set()
    return obj.wait(*args)


def wait_holding(condition, event):
    with condition:
        event.set()
        return condition.wait()


def call(method, *args):
    return method(*args)


class Chatty:
    """A class of a program's own that waits in its own way."""

    def __init__(self):
        import threading

        self._arrived = threading.Event()
        self._lock = threading.Condition()

    def wait(self, timeout=None):
        return self._arrived.wait(timeout)

    def waiting(self):
        return len(self._arrived._cond._waiters)

    def pulse(self):
        self._arrived.set()
        self._arrived.clear()

    def leave(self):
        raise SystemExit(3)

    def pid(self):
        return os.getpid()


class Line:
    """In a server, who waits at a condition or an event."""

    def __init__(self, proxy):
        obj = proxy._getvalue()
        self._condition = getattr(obj, "_cond", obj)

    def waiting(self):
        return len(self._condition._waiters)


class Manager(SyncManager):
    """A manager that tells who waits."""


Manager.register("Line", Line)
Manager.register("Chatty", Chatty)
