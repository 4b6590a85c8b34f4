"""Works in a pool until it is interrupted."""

import sys
import time

import polyproc


def work(number):
    while True:
        time.sleep(0.01)


if __name__ == "__main__":
    with polyproc.get_context(sys.argv[1]).Pool(2) as pool:
        pool.apply(abs, (1,))
        results = pool.map_async(work, range(10))
        print("working", flush=True)
        results.get()
