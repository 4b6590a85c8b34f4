"""What the tests' processes on other hosts run, and how they are started. Nothing of pytest is loaded there."""

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
import tracemalloc

import polyproc
from polyproc._hosts import frames
from polyproc._hosts.remote_life import remote_life


@contextlib.contextmanager
def starting(hosts, limit):
    """Return what starts a process of a context; those that are left at the end are killed."""
    processes = []

    def start(target, *args):
        process = hosts.Process(target=target, args=args)
        process.start()
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join(limit)
        process.close()


def where():
    return os.environ["POLYPROC_HOST"]


def surroundings(name):
    return os.environ.get(name), os.getcwd()


def family():
    parent = polyproc.parent_process()
    return polyproc.current_process().name, parent.pid, parent.is_alive(), os.getppid()


def say(out, err):
    print(out, flush=True)
    print(err, end="", file=sys.stderr, flush=True)


def write_much():
    for _ in range(20_000):
        sys.stdout.write("x" * 1023 + "\n")


def take_memory(size):
    return len(bytearray(os.urandom(1 << 20)) * (size >> 20))


def write_for_ever():
    while True:
        sys.stdout.write("x" * 1023 + "\n")


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


def write_into_own_pipe(data):
    """Write into what the worker talks to its pool by, as a task does that mistakes one descriptor for another."""
    os.write(remote_life.channel[0], data)
    time.sleep(100)


def hand_over_uninvited():
    """Say that a result is in memory here."""
    buffers = [bytes(1 << 20)]
    memory = frames.HandedMemory(buffers)
    said = frames.opening(0, buffers, memory.place()) + b"a result"
    write_into_own_pipe(frames.header(len(said)) + said)


def write_file(path, size):
    """Write a file; return its size."""
    with open(path, "wb") as file:
        return file.write(bytes(size))


# -- shared objects ----------------------------------------------------------------------------------------------------


def put_all(queue, items):
    for item in items:
        queue.put(item)


def double_all(tasks, results):
    while (item := tasks.get()) is not None:
        results.put(item * 2)


def do_all(queue):
    while queue.get() is not None:
        queue.task_done()
    queue.task_done()


def add_up(lock, value, times):
    for _ in range(times):
        with lock:
            value.value += 1


def add_up_by_its_lock(value, times):
    for _ in range(times):
        with value.get_lock():
            value.value += 1


def take_and_hold(lock, taken):
    lock.acquire()
    taken.set()
    time.sleep(100)


def get_and_hold(queue, waits):
    waits.set()
    queue.get()
    time.sleep(100)


def echo_all(connection):
    while True:
        try:
            connection.send(connection.recv())
        except EOFError:
            return "the end"


def meet(barrier, numbers):
    numbers.put(barrier.wait(20))


def wait_for_notice(condition, ready):
    with condition:
        (ready.set if hasattr(ready, "set") else ready.release)()
        return condition.wait(20)


def fill(array, dictionary):
    for place in range(len(array)):
        array[place] = place * place
    dictionary["host"] = where()


def make_and_send(queue, inner):
    queue.put(inner)


def use_all(*handles):
    """Use each, and say whether it was had without its server."""
    for handle in handles:
        if hasattr(handle, "acquire"):
            with handle:
                pass
        elif hasattr(handle, "put"):
            handle.put("item")
            assert handle.get() == "item"
        elif hasattr(handle, "is_set"):
            handle.set()
            assert handle.is_set()
        else:
            assert handle.wait() == 0
    return [handle._here is not None for handle in handles]


def use_value(value):
    with value.get_lock():
        value.value += 1
    return value.value, value._cell._here is not None


# -- pools -------------------------------------------------------------------------------------------------------------


def slow_where(number):
    time.sleep(0.05)
    return where()


def unpicklable():
    return threading.Lock()


def say_and_sleep(begun):
    begun.set()
    time.sleep(100)


def tell_and_sleep(queue, seconds):
    queue.put(where())
    time.sleep(seconds)
    return where()


def remember(value):
    kept.append(value)


def recall():
    return kept[0]


kept = []


SIZE = 8 << 20


class Large:
    """An object whose bytes are a buffer of their own, as an array's."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Large, (pickle.PickleBuffer(self.data),)

    def summary(self):
        view = memoryview(self.data)
        return len(view), view[0], view[-1], view.readonly


def large(first, last):
    """Return a large object that begins and ends with these bytes."""
    data = bytearray(SIZE)
    data[0], data[-1] = first, last
    return Large(data)


def measured(act):
    """Return what a function returns, and how many bytes more there were at most while it ran."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = act()
        return found, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def put_large(queue):
    made = large(1, 2)
    return measured(lambda: queue.put(made))[1]


def get_large(queue):
    found, more = measured(queue.get)
    return found.summary(), more


def send_large(end):
    made = large(3, 4)
    return measured(lambda: end.send(made))[1]


def receive_large(end):
    found, more = measured(end.recv)
    return found.summary(), more


def summary_of(made, number=0):
    return made.summary()


def change_in_place(made):
    memoryview(made.data)[0] = 77
    return made.summary()


def die_with(made):
    os.kill(os.getpid(), signal.SIGKILL)


def begin_to_measure():
    tracemalloc.start()
    kept.append(large(5, 6))


def reset_peak():
    tracemalloc.reset_peak()
    return tracemalloc.get_traced_memory()[0]


def return_large():
    return kept[0]


def peak_since(before):
    return tracemalloc.get_traced_memory()[1] - before


def host_and_summary(made, number):
    return os.environ["POLYPROC_HOST"], made.summary()


def put_numbers_and_die(queue, count):
    for number in range(count):
        queue.put(number)
    os.kill(os.getpid(), signal.SIGKILL)


def put_numbers(queue, count):
    for number in range(count):
        queue.put(number)


def put_numbers_in_a_thread(queue, count):
    thread = threading.Thread(target=put_numbers, args=(queue, count))
    thread.start()
    thread.join()


def put_until_it_is_shut_down(queue):
    count = 0
    try:
        while True:
            queue.put(count)
            count += 1
    except polyproc.queues.ShutDown:
        return count


kept = []
