"""Waits for what runs in other processes, in one way of many, until a Ctrl-C ends it."""

import os
import sys
import time

import polyproc


def work(_=0):
    print("working", os.getpid(), flush=True)
    time.sleep(100)


def processes():
    started = [context.Process(target=work) for _ in range(2)]
    for process in started:
        process.start()
    try:
        started[0].join()
    finally:
        for process in started:
            process.join()
        print("codes", *[process.exitcode for process in started])


def unjoined():
    for _ in range(2):
        context.Process(target=work).start()


def pool():
    with context.Pool(2) as workers:
        workers.map(work, range(4), chunksize=1)


def executor():
    with polyproc.ProcessPoolExecutor(2, context) as workers:
        list(workers.map(work, range(8), chunksize=2))


def executor_without_with():
    workers = polyproc.ProcessPoolExecutor(2, context)
    futures = [workers.submit(work) for _ in range(8)]
    futures[0].result()


def manager():
    with context.Manager() as served:
        process = context.Process(target=work)
        process.start()
        print("working", process.pid, flush=True)
        served.Event().wait()


if __name__ == "__main__":
    context = polyproc.get_context(sys.argv[1])
    globals()[sys.argv[2]]()
