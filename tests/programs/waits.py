"""Starts children, prints the pids of all, and waits."""

import os
import sys
import time

import polyproc


def sleep():
    time.sleep(100)


if __name__ == "__main__":
    ctx = polyproc.get_context(sys.argv[1])
    processes = [ctx.Process(target=sleep, daemon=i == 0) for i in range(3)]
    for process in processes:
        process.start()
    time.sleep(0.3)
    print(os.getpid(), *(p.pid for p in processes), flush=True)
    for process in processes:
        process.join()
