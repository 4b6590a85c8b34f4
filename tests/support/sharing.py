"""What the processes of the tests of shared objects run."""

import ctypes
import os
import pickle
import platform
import signal
import threading
import time


def hold(lock, told):
    lock.acquire()
    told.set()
    time.sleep(60)


def fork_by(how):
    """Fork by os.fork or by the system call alone."""
    if how == "fork":
        return os.fork()
    clone = {"x86_64": 56}.get(platform.machine(), 220)
    return ctypes.CDLL(None).syscall(clone, signal.SIGCHLD, None, None, None, None)


def hold_and_fork(lock, rlock, queue, how):
    with lock, rlock:
        pid = fork_by(how)
        if pid == 0:
            queue.put((lock.acquire(timeout=0.05), rlock.acquire(False), rlock._is_mine(), rlock.owner == os.getppid()))
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert rlock._is_mine()


def take_and_give(lock):
    if lock.acquire(timeout=30):
        lock.release()


def take_and_end(lock):
    lock.acquire()


def add_under(lock, value, times):
    for _ in range(times):
        with lock:
            value.value += 1


def wait_for_notice(condition, ready, done):
    with condition:
        ready.release()
        if condition.wait(30):
            done.release()


def wait_for(event, done):
    if event.wait(30):
        done.release()


def hold_in_block(semaphore, told):
    with semaphore:
        told.set()
        time.sleep(60)


def pass_barrier(barrier, done):
    barrier.wait(30)
    done.release()


def change(value, array, structure, text, raw):
    value.value *= 2
    value.add(1)
    for index in range(len(array)):
        array[index] += index
    structure.x += 1
    text.value += b" there"
    raw[0] = 7


def receive_and_take(connection):
    lock, event, value = connection.recv()
    lock.acquire()
    value.value = os.getpid()
    event.set()
    connection.recv()


def write_into(segment):
    segment.buf[0] = 42
    segment.close()


def make_segment(connection):
    from polyproc.shared_memory import SharedMemory

    segment = SharedMemory(create=True, size=10)
    segment.buf[0] = 7
    segment.close()
    connection.send(segment.name)


def attach_and_end(name):
    from polyproc.shared_memory import SharedMemory

    SharedMemory(name).close()


def length_of(shared):
    return len(shared["data"])


def come_until_broken(barrier, rounds):
    try:
        while True:
            barrier.wait(20)
            rounds.add(1)
    except threading.BrokenBarrierError:
        pass


class Buffer:
    """Memory that pickle leaves to its caller."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Buffer, (pickle.PickleBuffer(self.data),)


def write_to(parts):
    try:
        for part in parts:
            part.data[:1] = b"x"
    except TypeError as error:
        return str(error)
    return "written"
