"""What the workers of the tests of pools run."""

import os
import sys
import threading
import time

kept = None


def double(number):
    return number * 2


def slowly(number, seconds):
    time.sleep(seconds)
    return number, number * 2


def waits_for_the_next(number):
    """Call 0 waits for call 1; `kept` is an event. Return whether it came."""
    if number == 1:
        kept.set()
    return number != 0 or kept.wait(20)


def mark(path, number):
    with open(path, "a") as file:
        file.write(f"{number}\n")
    time.sleep(0.0005)


def long_for(threshold, number):
    if number >= threshold:
        time.sleep(0.05)
    return os.getpid()


def fails_for(bad, number):
    if number == bad:
        raise ValueError(f"not {number}")
    return number


def unpicklable_for(bad, number):
    return threading.Lock() if number == bad else number


def meet(number):
    kept.wait(30)
    return number


def own(array):
    array += 1
    return array


class Counter:
    def __init__(self):
        self.calls = 0

    def __call__(self, number):
        self.calls += 1
        return self.calls


def remember(barrier):
    global kept
    kept = barrier


def nap(seconds):
    """Sleep, in short naps that a signal ends."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)
    return seconds


def loop_in_c():
    """Never come back to Python."""
    sum(range(10**13))


def stubborn(path):
    """Catch what is raised here and go on; from when the path is there, since the caller may end it then."""
    while True:
        try:
            with open(path, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(100)
        except Exception:
            pass


def swallow(seconds):
    """Catch what is raised here, and return."""
    try:
        time.sleep(seconds)
    except Exception as error:
        return type(error).__name__
    return "slept"


def start_and_sleep(path):
    """Start a child, tell its pid, and never come back to Python."""
    import polyproc

    child = polyproc.Process(target=time.sleep, args=(100,))
    child.start()
    with open(path, "w") as file:
        file.write(str(child.pid))
    loop_in_c()


def attempts(path):
    """Leave a mark; return how many there are."""
    with open(path, "a+") as file:
        file.write(".")
        file.flush()
        file.seek(0)
        return len(file.read())


def die_before(path, times):
    """Be killed in the first calls."""
    attempt = attempts(path)
    if attempt <= times:
        os.kill(os.getpid(), 9)
    return attempt


def fail_before(path, times):
    attempt = attempts(path)
    if attempt <= times:
        raise OSError("not yet")
    return attempt


def note(path, text):
    with open(path, "a") as file:
        file.write(f"{text}\n")
    return text


def with_state(path, name):
    """A generator initializer."""
    note(path, "set up")
    try:
        yield {"name": name}
    finally:
        note(path, "torn down")


def name_in_state():
    import polyproc

    return polyproc.current_process().state["name"]


def grow(mebibytes):
    global kept
    kept = bytearray(mebibytes << 20)
    return os.getpid()


def pid_of(_):
    return os.getpid()


def sum_in_a_pool(numbers):
    import polyproc

    with polyproc.Pool(2) as pool:
        return sum(pool.map(double, numbers))


def die_for(bad, number):
    if number == bad:
        os.kill(os.getpid(), 9)
    return number


def call_without(function):
    return function()


def note_pair(pair):
    return note(*pair)


def be_killed_with_a_pool(path):
    import polyproc

    pool = polyproc.Pool(2)
    for process in pool._pool:
        note(path, process.pid)
    pool.map(double, range(10))
    os.kill(os.getpid(), 9)


def thread_variables():
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def threads_of_blas():
    numpy = __import__("numpy")
    import threadpoolctl

    numpy.ones((4, 4)) @ numpy.ones((4, 4))
    return [found["num_threads"] for found in threadpoolctl.threadpool_info()]


def loaded_modules():
    return set(sys.modules)


def threads_of_a_product():
    """Return how many threads this process has more when it has multiplied two matrices."""
    import numpy

    before = len(os.listdir("/proc/self/task"))
    matrix = numpy.ones((600, 600))
    assert (matrix @ matrix)[0, 0] == 600
    return len(os.listdir("/proc/self/task")) - before


def fails_for_three(number):
    return fails_for(3, number)


def slow_note(path, text):
    time.sleep(0.02)
    return note(path, text)
