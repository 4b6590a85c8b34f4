"""The first starts of a program, by several threads at once. Argument: a start method."""

import sys
import threading

import polyproc

THREADS = 8


def start_one(ctx, barrier, codes):
    process = ctx.Process(target=int)
    barrier.wait()
    process.start()
    process.join()
    codes.append(process.exitcode)


if __name__ == "__main__":
    barrier, codes = threading.Barrier(THREADS), []
    threads = [
        threading.Thread(target=start_one, args=(polyproc.get_context(sys.argv[1]), barrier, codes))
        for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(codes)
