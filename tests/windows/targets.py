"""What the children of the tests run."""

import os
import sys
import threading
import time

import polyproc


def nothing():
    pass


def double(value):
    return value * 2


def exit_with(code):
    sys.exit(code)


def end_at_once(code):
    os._exit(code)


def fail(text):
    raise ValueError(text)


def sleep(seconds=60):
    time.sleep(seconds)


def about_parent():
    parent = polyproc.parent_process()
    return parent.pid, parent.name, parent.is_alive(), polyproc.current_process().name


def start_another():
    process = polyproc.Process(target=exit_with, args=(7,))
    process.start()
    process.join()
    return process.exitcode


def wait_for_interrupt(connection):
    connection.send("ready")
    try:
        time.sleep(50)
    except KeyboardInterrupt:
        return "interrupted"
    return "slept"


def echo(connection):
    while True:
        try:
            connection.send(connection.recv())
        except EOFError:
            return


def put_many(queue, name, count):
    for number in range(count):
        queue.put((name, number))


def take_until_none(queue, results):
    while (item := queue.get()) is not None:
        results.put(item)


def count_up(value, times):
    for _ in range(times):
        with value.get_lock():
            value.value += 1


def hold(lock, connection):
    lock.acquire()
    connection.send("held")
    time.sleep(60)


def meet(barrier, queue):
    queue.put(barrier.wait(30))


def wait_for_event(event, queue):
    queue.put(event.wait(30))


def wait_for_condition(condition, queue):
    with condition:
        queue.put("waits")
        queue.put(condition.wait(30))


def work_off(queue):
    while True:
        queue.get()
        queue.task_done()


def hold_and_end(lock, at_once):
    lock.acquire()
    if at_once:
        os._exit(3)


def release(lock):
    lock.release()


def hold_in_block(semaphore, connection):
    with semaphore:
        connection.send("held")
        time.sleep(60)


def take_and_give(semaphore, times):
    for _ in range(times):
        assert semaphore.acquire(timeout=60)
        semaphore.release()
    with semaphore:
        pass


def hold_in_turn(lock, connection):
    lock.acquire()
    connection.send("held")
    connection.recv()
    lock.release()


def take_one_and_wait(queue, connection):
    connection.send(queue.get())
    queue.get()


def put_for_ever(queue):
    number = 0
    while True:
        queue.put(number)
        number += 1


def count_up_for_ever(value, connection):
    connection.send("begins")
    while True:
        with value.get_lock():
            value.value += 1


def start_and_tell(connection):
    process = polyproc.Process(target=time.sleep, args=(60,))
    process.start()
    connection.send(process.pid)
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass


def read_file(file):
    with file:
        return file.read()


def spin(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def reset_once(barrier, told):
    if barrier.wait(60) == 2:
        while barrier.n_waiting < barrier.parties - 1:
            time.sleep(0.0005)
        barrier.reset()
        told.put("reset")
    else:
        try:
            barrier.wait(60)
        except threading.BrokenBarrierError:
            told.put("broken")
    barrier.wait(60)
