"""Forgets an executor: what it was asked for is done before the program ends."""

import sys
import time

import polyproc


def note(path, number):
    time.sleep(0.05)
    with open(path, "a") as file:
        file.write(f"{number}\n")


if __name__ == "__main__":
    executor = polyproc.ProcessPoolExecutor(2)
    for number in range(5):
        executor.submit(note, sys.argv[1], number)
