"""What the workers of the tests of pools run."""

import os
import threading
import time

kept = None


def double(number):
    return number * 2


def slowly(number, seconds):
    time.sleep(seconds)
    return number, number * 2


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
