"""Keeps results and no pool: a pool lives as long as there is something to wait for."""

import sys
import time

import polyproc


def nap(seconds):
    time.sleep(seconds)
    return seconds


def double(number):
    return number * 2


if __name__ == "__main__":
    ctx = polyproc.get_context(sys.argv[1])
    future = ctx.Pool(1).submit(nap, 0.2)
    results = ctx.Pool(1).map_async(double, range(10))
    print(future.result(30), results.get(30)[-1])
